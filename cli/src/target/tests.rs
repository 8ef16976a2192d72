use super::*;
use crate::exit::Exit;

fn resolve(args: TargetArgs, env: &[(&str, &str)], settings: Settings) -> Result<Place, Problem> {
    let env = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    args.resolve_with(&settings, &env)
}

fn target(args: TargetArgs, env: &[(&str, &str)], settings: Settings) -> Target {
    resolve(args, env, settings).unwrap().target
}

fn data(dir: &str) -> TargetArgs {
    TargetArgs { data: Some(dir.into()), ..TargetArgs::default() }
}

#[test]
fn nothing_said_is_the_default_directory_and_tenant() {
    let place = resolve(TargetArgs::default(), &[], Settings::default()).unwrap();
    assert_eq!(place, Place { target: Target::Data(".stepstream".into()), tenant: TenantId::default_tenant() });
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let env = [("STEPSTREAM_SERVER", "http://env:1")];
    let settings = Settings { data: Some("file".into()), ..Settings::default() };
    assert_eq!(target(data("flag"), &env, settings.clone()), Target::Data("flag".into()));
    assert_eq!(target(TargetArgs::default(), &env, settings.clone()), Target::Server("http://env:1".into()));
    assert_eq!(target(TargetArgs::default(), &[], settings), Target::Data("file".into()));
}

#[test]
fn two_places_from_one_source_are_refused() {
    let env = [("STEPSTREAM_SERVER", "http://env:1"), ("STEPSTREAM_DATA", "d")];
    let problem = resolve(TargetArgs::default(), &env, Settings::default()).unwrap_err();
    assert_eq!(problem.exit, Exit::Usage);
}

#[test]
fn a_malformed_tenant_or_server_is_a_wrong_usage() {
    for tenant in ["acme", "tenant_", "tenant_a.b", "tenant_a*"] {
        let args = TargetArgs { tenant: Some(tenant.into()), ..TargetArgs::default() };
        assert_eq!(resolve(args, &[], Settings::default()).unwrap_err().exit, Exit::Usage, "{tenant}");
    }
    let args = TargetArgs { server: Some("127.0.0.1:8233".into()), ..TargetArgs::default() };
    assert_eq!(resolve(args, &[], Settings::default()).unwrap_err().exit, Exit::Usage);
}

#[test]
fn a_place_can_be_named_again_on_a_command_line() {
    let place = Place { target: Target::Data("it's here".into()), tenant: "tenant_a".parse().unwrap() };
    assert_eq!(place.as_arguments(), r" --data 'it'\''s here' --tenant tenant_a");
    let database =
        |url: &str| Place { target: Target::Postgres(url.into()), tenant: TenantId::default_tenant() }.as_arguments();
    assert_eq!(database("postgres://me@host:5433/steps"), " --postgres postgres://me@host:5433/steps");
    for secret in ["postgres://me:secret@host/steps", "postgres://host/steps?user=me&password=secret"] {
        let shown = database(secret);
        assert!(shown.contains("***") && !shown.contains("secret") && shown.contains("host/steps"), "{shown}");
    }
}
