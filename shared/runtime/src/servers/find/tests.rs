use super::*;

#[test]
fn versions_are_read_from_what_the_servers_print() {
    assert_eq!(parse_version("nats-server: v2.15.1\n"), Some((2, 15)));
    assert_eq!(parse_version("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)"), Some((15, 14)));
    assert_eq!(parse_version("postgres (PostgreSQL) 18beta2"), Some((18, 0)));
    assert_eq!(parse_version("no number"), None);
}

#[test]
fn a_missing_server_is_an_error_of_four_lines_that_says_how_to_get_it() {
    let nowhere = Search { explicit: Some("/nowhere/nats-server".into()), ..Search::default() };
    let error = nats_server(&nowhere).unwrap_err().to_string();
    assert_eq!(error.lines().count(), 4, "{error}");
    assert!(error.contains(NATS_WHEEL) && error.contains(NATS_VARIABLE), "{error}");

    let nowhere = Search { explicit: Some("/nowhere".into()), ..Search::default() };
    let error = postgres_bin(&nowhere).unwrap_err().to_string();
    assert_eq!(error.lines().count(), 4, "{error}");
    assert!(error.contains(POSTGRES_WHEEL) && error.contains(POSTGRES_VARIABLE), "{error}");
}

#[test]
fn a_missing_server_for_s3_is_an_error_that_says_how_to_get_it() {
    for nowhere in [Search { explicit: Some("/nowhere/moto_server".into()), ..Search::default() }, Search::default()] {
        let Err(error) = s3_server(&nowhere) else { continue }; // Somebody has named one for the tests.
        let error = error.to_string();
        assert!(S3_WHEELS.iter().all(|wheel| error.contains(wheel)) && error.contains(S3_VARIABLE), "{error}");
    }
}
