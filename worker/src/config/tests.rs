use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    worker: WorkerArgs,
}

fn parse(arguments: &[&str]) -> Result<WorkerArgs, String> {
    let cli = Cli::try_parse_from(std::iter::once(&"worker").chain(arguments));
    cli.map(|cli| cli.worker).map_err(|error| error.to_string())
}

#[test]
fn queues_repeat_and_come_in_lists() {
    let args = parse(&["--queue", "a,b", "--queue", "c"]).unwrap();
    assert_eq!(args.queues, ["a", "b", "c"]);
    assert_eq!(parse(&[]).unwrap().queues, ["default"]);
}

#[test]
fn tenants_repeat_come_in_lists_and_have_weights() {
    let args = parse(&["--tenant", "tenant_a=3,tenant_b", "--tenant", "tenant_c=1000"]).unwrap();
    let shown: Vec<String> = args.tenants.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["tenant_a=3", "tenant_b", "tenant_c=1000"]);
    let default = parse(&[]).unwrap().tenants;
    assert_eq!((default.len(), default[0].to_string().as_str()), (1, "tenant_default"));
}

#[test]
fn what_cannot_be_is_refused_at_once() {
    for wrong in [
        ["--queue", "a.b"],
        ["--queue", ""],
        ["--slots", "0"],
        ["--slots", "100000"],
        ["--grace", "30"],
        ["--grace", "-1s"],
        ["--grace", "25h"],
        ["--grace", "99999999999999999999s"],
        ["--tenant", "default"],
        ["--tenant", "tenant_a="],
        ["--tenant", "tenant_a=0"],
        ["--tenant", "tenant_a=1001"],
        ["--tenant", "tenant_a=2=3"],
        ["--tenant", "tenant_a,"],
        ["--log-format", "xml"],
    ] {
        assert!(parse(&wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn durations_have_units() {
    let grace = |text| parse(&["--grace", text]).unwrap().grace;
    assert_eq!(grace("500ms"), Duration::from_millis(500));
    assert_eq!(grace("0s"), Duration::ZERO);
    assert_eq!(grace("2m"), Duration::from_secs(120));
}

#[test]
fn a_worker_is_named_after_its_machine_and_process() {
    let name = parse(&[]).unwrap().name();
    assert!(name.ends_with(&format!("-{}", std::process::id())), "{name}");
    assert_eq!(parse(&["--name", "left"]).unwrap().name(), "left");
}
