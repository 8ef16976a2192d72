//! The stock worker as a program: its exit codes and what it says.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::process::{Command, Output};

fn worker(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stepstream-worker"));
    command.args(arguments).env_remove("RUST_LOG").env_remove("NATS_URL").env_remove("STEPSTREAM_NATS");
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_bus_that_is_not_there_is_exit_code_5_and_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let free = listener.local_addr().unwrap();
    drop(listener);
    let output = worker(&["--nats", &format!("nats://me:secret@{free}")]);
    assert_eq!(output.status.code(), Some(5), "{}", said(&output));
    assert!(said(&output).contains(&free.to_string()), "{}", said(&output));
    assert!(!said(&output).contains("secret"), "{}", said(&output));
    assert!(output.stdout.is_empty());
}

#[test]
fn a_url_that_is_none_is_exit_code_2() {
    let output = worker(&["--nats", "http://\u{1}"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).starts_with("error: ") && !said(&output).contains('\u{1}'), "{}", said(&output));
}

#[test]
fn wrong_options_are_exit_code_2() {
    for wrong in [["--slots", "0"], ["--queue", "a b"], ["--tenant", "x"], ["--grace", "soon"]] {
        assert_eq!(worker(&wrong).status.code(), Some(2), "{wrong:?}");
    }
}
