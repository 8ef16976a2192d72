//! `send`: messages to a running execution.

use clap::{Args, Subcommand};
use stepstream_shared::event::Message;
use stepstream_shared::event::message::{
    EvidenceImpact, EvidenceSource, GuidancePriority, GuidanceSource, InboxAction,
};
use stepstream_shared::execution::Steering;
use stepstream_shared::id::ExecutionId;

use super::asking::AskArgs;
use super::execution_id;
use crate::app::App;
use crate::exit::{Exit, Problem};
use crate::input;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stepstream send exec_… guidance 'look at the tests first' --priority high
  stepstream send exec_… evidence 'two tests fail' --impact contradicts_plan --content @failed.json
  stepstream send exec_… a2a review_done --from reviewer --payload @review.json
  stepstream send exec_… compact

The next step whose task says `inbox: true` takes what has come, the most urgent first.
Expressions see the latest guidance and evidence as `inbox`.")]
pub struct SendArgs {
    /// The execution
    #[arg(value_name = "EXEC", value_parser = execution_id)]
    execution: ExecutionId,

    #[command(subcommand)]
    message: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// What to do, or to mind
    Guidance(GuidanceArgs),
    /// What was found
    Evidence(EvidenceArgs),
    /// What another agent says
    A2a(A2aArgs),
    /// Ask whoever works on it to make its context smaller
    Compact(ControlArgs),
    /// Ask whoever works on it to save where it is
    Checkpoint(ControlArgs),
}

#[derive(Debug, Args)]
struct GuidanceArgs {
    /// What is said
    #[arg(value_name = "TEXT", allow_hyphen_values = true)]
    text: String,

    /// How urgent it is: low, medium or high
    #[arg(long, value_name = "PRIORITY", default_value = "medium", value_parser = priority)]
    priority: GuidancePriority,

    /// Who guides: user, system or agent
    #[arg(long, value_name = "WHO", default_value = "user", value_parser = guide)]
    from: GuidanceSource,

    /// What belongs to it
    #[arg(long, value_name = "JSON|@FILE|-", allow_hyphen_values = true)]
    context: Option<String>,

    #[command(flatten)]
    ask: AskArgs,
}

#[derive(Debug, Args)]
struct EvidenceArgs {
    /// What was found, in a line
    #[arg(value_name = "TITLE", allow_hyphen_values = true)]
    title: String,

    /// All of it
    #[arg(long, value_name = "JSON|@FILE|-", allow_hyphen_values = true)]
    content: Option<String>,

    /// What it means: informational, requires_review or contradicts_plan
    #[arg(long, value_name = "IMPACT", default_value = "informational", value_parser = impact)]
    impact: EvidenceImpact,

    /// Where it comes from: discovery, tool_result, external or memory
    #[arg(long, value_name = "SOURCE", default_value = "external", value_parser = source)]
    source: EvidenceSource,

    /// How sure it is, from 0 to 1
    #[arg(long, value_name = "F", value_parser = confidence)]
    confidence: Option<f64>,

    #[command(flatten)]
    ask: AskArgs,
}

#[derive(Debug, Args)]
struct A2aArgs {
    /// What kind of message it is, as the agents agreed
    #[arg(value_name = "TYPE")]
    kind: String,

    /// The agent that says it [default: as --as]
    #[arg(long, value_name = "AGENT")]
    from: Option<String>,

    /// What it says
    #[arg(long, value_name = "JSON|@FILE|-", allow_hyphen_values = true)]
    payload: Option<String>,

    #[command(flatten)]
    ask: AskArgs,
}

#[derive(Debug, Args)]
struct ControlArgs {
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,

    #[command(flatten)]
    ask: AskArgs,
}

macro_rules! word {
    ($($name:ident: $kind:ty),+) => {$(
        fn $name(text: &str) -> Result<$kind, String> {
            let known = || <$kind>::ALL.iter().map(|each| each.name()).collect::<Vec<_>>().join(", ");
            <$kind>::named(text).ok_or_else(|| format!("there are {}", known()))
        }
    )+};
}

word! { priority: GuidancePriority, guide: GuidanceSource, impact: EvidenceImpact, source: EvidenceSource }

fn confidence(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err("it is a number from 0 to 1".to_owned()),
    }
}

pub async fn run(args: SendArgs, app: &App) -> Result<Exit, Problem> {
    let control = |action, args: ControlArgs| (Message::Control { action, reason: args.reason }, args.ask);
    let (message, ask) = match args.message {
        What::Guidance(args) => {
            let context = input::value(args.context.as_deref(), "--context")?;
            (Message::Guidance { from: args.from, content: args.text, context, priority: args.priority }, args.ask)
        }
        What::Evidence(args) => {
            let content = input::value(args.content.as_deref(), "--content")?;
            let EvidenceArgs { title, impact, source, confidence, ask, .. } = args;
            (Message::Evidence { source, title, content, confidence, impact }, ask)
        }
        What::A2a(args) => {
            let payload = input::value(args.payload.as_deref(), "--payload")?;
            let from_agent = args.from.unwrap_or_else(|| args.ask.by());
            (Message::A2a { from_agent, message_type: args.kind, payload }, args.ask)
        }
        What::Compact(args) => control(InboxAction::Compact, args),
        What::Checkpoint(args) => control(InboxAction::Checkpoint, args),
    };
    let done = format!("was sent {}", message.kind());
    ask.ask(app, args.execution, Steering::Send { message }, &done).await
}
