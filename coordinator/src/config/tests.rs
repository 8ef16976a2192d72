use clap::Parser;

use super::*;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    coordinator: CoordinatorArgs,
}

fn parse(args: &[&str]) -> Result<CoordinatorArgs, clap::Error> {
    Cli::try_parse_from(std::iter::once("coordinator").chain(args.iter().copied())).map(|cli| cli.coordinator)
}

#[test]
fn the_log_is_in_one_place() {
    assert!(parse(&["--postgres", "postgres://a", "--sqlite", "b"]).is_err());
    let args = parse(&["--sqlite", "b"]).unwrap();
    assert_eq!(args.store(), Some(StoreChoice::Sqlite("b".into())));
    let args = parse(&["--postgres", "postgres://a"]).unwrap();
    assert_eq!(args.store(), Some(StoreChoice::Postgres("postgres://a".into())));
}

#[test]
fn times_and_numbers_have_bounds() {
    assert_eq!(parse(&["--lease", "1500ms"]).unwrap().lease, Duration::from_millis(1500));
    for bad in [["--lease", "1ms"], ["--lease", "1h"], ["--lease", "5"], ["--partitions", "0"], ["--grace", "25h"]] {
        assert!(parse(&bad).is_err(), "{bad:?}");
    }
}
