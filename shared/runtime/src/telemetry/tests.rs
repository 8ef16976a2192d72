use super::*;

#[test]
fn a_wrong_filter_is_an_error_that_says_where_it_comes_from() {
    let error = filter(Some("stepstream=loud"), "info").unwrap_err();
    assert!(error.to_string().starts_with("RUST_LOG is not a filter"), "{error}");
}

#[test]
fn an_empty_filter_is_the_default() {
    assert_eq!(filter(Some(""), "warn").unwrap().to_string(), "warn");
    assert_eq!(filter(Some("debug"), "warn").unwrap().to_string(), "debug");
}

#[test]
fn formats_are_named_as_they_print() {
    for format in [LogFormat::Text, LogFormat::Json] {
        assert_eq!(format.to_string().parse(), Ok(format));
    }
    assert!("xml".parse::<LogFormat>().is_err());
}
