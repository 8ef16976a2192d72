//! The account a PostgreSQL server runs under: our own, or nobody when we are root.

use std::os::unix::fs::chown;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::unistd::{Uid, geteuid};

use super::super::ServerError;

/// `nobody` on every Linux, and an id without rights anywhere.
const NOBODY: u32 = 65534;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Account {
    Ours,
    /// `setpriv` and its options.
    Nobody {
        under: Vec<String>,
    },
}

impl Account {
    /// Finds a way to run this folder's binaries in this directory.
    pub(super) fn choose(bin: &Path, directory: &Path) -> Result<Self, ServerError> {
        if geteuid() != Uid::from_raw(0) {
            return Ok(Account::Ours);
        }
        let id = NOBODY.to_string();
        let plain: Vec<String> =
            ["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups"].into_iter().map(str::to_owned).collect();
        let with = |capability: &str| {
            let mut under = plain.clone();
            under.push(format!("--inh-caps=+{capability}"));
            under.push(format!("--ambient-caps=+{capability}"));
            under
        };
        let ways = [plain.clone(), with("dac_read_search"), with("dac_override")];
        let works = |under: &Vec<String>| can_run(under, &bin.join("postgres"), directory);
        ways.into_iter().find(works).map(|under| Account::Nobody { under }).ok_or_else(|| ServerError::Tool {
            program: "setpriv".to_owned(),
            words: format!(
                "PostgreSQL does not run as root, and as another user it cannot reach {} or {}: \
                 install util-linux, choose a directory that everybody can reach, or run as an ordinary user",
                bin.display(),
                directory.display()
            ),
        })
    }

    /// What stands before a program on its command line.
    pub(super) fn prefix(&self) -> Vec<String> {
        match self {
            Account::Ours => Vec::new(),
            Account::Nobody { under } => under.clone(),
        }
    }

    pub(super) fn command(&self, program: &Path) -> Command {
        match self.prefix().split_first() {
            None => Command::new(program),
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
        }
    }

    /// Gives the directory to the account.
    pub(super) fn own(&self, directory: &Path) -> Result<(), ServerError> {
        match self {
            Account::Ours => Ok(()),
            Account::Nobody { .. } => chown(directory, Some(NOBODY), Some(NOBODY)).map_err(|source| {
                ServerError::Files { what: "cannot give away the directory", path: directory.to_owned(), source }
            }),
        }
    }
}

fn can_run(under: &[String], program: &Path, directory: &Path) -> bool {
    let Some((first, rest)) = under.split_first() else { return false };
    let script = r#"cd "$1" && exec "$2" --version"#;
    let mut command = Command::new(first);
    command.args(rest).args(["/bin/sh", "-c", script, "sh"]).arg(directory).arg(program);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
