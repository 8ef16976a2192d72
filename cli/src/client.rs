//! The servers' client, and what its errors mean to a command.

pub use stepstream_client::{
    Asker, Client, Content, Many, ManyAction, Message, Start as ServerStart, State as ServerState,
};
use stepstream_client::{Error, Refusal, RefusalKind};

use crate::exit::{Exit, Problem};
use crate::target::{Place, Target};

/// Where a client looks, and for whom.
pub fn place(client: &Client) -> Place {
    Place { target: Target::Server(client.base().to_owned()), tenant: client.tenant().clone() }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        match &error {
            Error::Refused(refusal) => Problem::new(exit_of(refusal), message),
            Error::NotSendable { .. } | Error::Setup { .. } => Problem::usage(message),
            Error::LineTooLong | Error::NotAValue { .. } => Problem::new(Exit::Exhausted, message),
            Error::Odd { .. } => {
                Problem::new(Exit::Unreachable, message).hint("is this a server of Stepstream, and of this version?")
            }
            _ => Problem::new(Exit::Unreachable, message).hint(
                "is the server running? `stepstream dev` starts one; without --server, executions run in this process",
            ),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Problem::new(exit_of(&refusal), refusal.to_string())
    }
}

fn exit_of(refusal: &Refusal) -> Exit {
    match refusal.kind() {
        RefusalKind::Invalid => Exit::Usage,
        RefusalKind::Conflict => Exit::Conflict,
        RefusalKind::NotFound => Exit::NotFound,
        RefusalKind::Exhausted => Exit::Exhausted,
        RefusalKind::Unavailable => Exit::Unreachable,
        RefusalKind::Corrupt => Exit::Diverged,
        RefusalKind::Forbidden | RefusalKind::Internal => Exit::Refused,
    }
}
