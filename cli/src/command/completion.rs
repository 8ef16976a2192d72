//! `completion`: what a shell needs to complete this program's words.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::exit::{Exit, Problem};
use crate::output;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  source <(stepstream completion bash)
  stepstream completion zsh > ~/.zfunc/_stepstream")]
pub struct CompletionArgs {
    shell: Shell,
}

pub fn run(args: &CompletionArgs) -> Result<Exit, Problem> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::Cli::command(), "stepstream", &mut script);
    output::line(String::from_utf8_lossy(&script).trim_end())?;
    Ok(Exit::Done)
}
