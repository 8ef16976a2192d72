use serde_json::json;

use super::*;

fn evaluate(filter: &str, value: Value) -> Answer {
    let input = serde_json::from_value(json!({ "filter": filter, "value": value })).unwrap();
    Filters::default().evaluate(input)
}

#[track_caller]
fn gives(filter: &str, value: Value, output: Value) {
    assert_eq!(evaluate(filter, value), Answer::Output(output), "{filter}");
}

#[track_caller]
fn refused(filter: &str, says: &str) {
    match evaluate(filter, json!(null)) {
        Answer::BadFilter(why) => assert!(why.contains(says), "{filter}: {why}"),
        other => panic!("{filter} was not refused: {other:?}"),
    }
}

#[test]
fn jq_is_there() {
    gives(".a[1]", json!({ "a": [1, 2] }), json!(2));
    gives("[.[] | select(. > 1) * 2]", json!([1, 2, 3]), json!([4, 6]));
    gives("map(.n) | add", json!([{ "n": 1 }, { "n": 2.5 }]), json!(3.5));
    gives("to_entries | map(\"\\(.key)=\\(.value)\") | join(\",\")", json!({ "a": 1, "b": 2 }), json!("a=1,b=2"));
    gives("test(\"^a.c$\")", json!("abc"), json!(true));
    gives("todate", json!(0), json!("1970-01-01T00:00:00Z"));
    gives("group_by(.k) | length", json!([{ "k": 1 }, { "k": 2 }, { "k": 1 }]), json!(2));
    gives("gsub(\"a\"; \"b\") | ascii_upcase | @base64", json!("aa"), json!("QkI="));
    gives(".", json!(18_446_744_073_709_551_615_u64), json!(18_446_744_073_709_551_615_u64));
    gives("nan", json!(null), json!(null));
}

#[test]
fn variables_are_bound() {
    let input = json!({ "filter": "$a + $b_2", "value": null, "vars": { "a": 1, "b_2": 2 } });
    assert_eq!(Filters::default().evaluate(serde_json::from_value(input).unwrap()), Answer::Output(json!(3)));
    let odd = json!({ "filter": ".", "value": null, "vars": { "a b": 1 } });
    assert!(matches!(Filters::default().evaluate(serde_json::from_value(odd).unwrap()), Answer::BadFilter(_)));
}

#[test]
fn one_output_or_all() {
    assert!(matches!(evaluate(".[]", json!([1, 2])), Answer::BadOutput(why) if why.contains("more than one")));
    assert!(matches!(evaluate("empty", json!(1)), Answer::BadOutput(why) if why.contains("no output")));
    let all = json!({ "filter": ".[]", "value": [1, 2], "all": true });
    assert_eq!(Filters::default().evaluate(serde_json::from_value(all).unwrap()), Answer::Output(json!([1, 2])));
}

#[test]
fn nothing_outside_the_value_can_be_seen() {
    for name in [
        "env",
        "$ENV",
        "$__prog_args",
        "now",
        "localtime",
        "strflocaltime(\"%c\")",
        "input",
        "inputs",
        "input_filename",
        "debug",
        "debug(1)",
        "stderr",
        "debug_empty",
        "stderr_empty",
        "halt",
        "halt(1)",
        "halt_error",
        "halt_error(2)",
    ] {
        refused(name, "is not available");
    }
    refused("import \"a\" as a; 1", "not supported");
    refused("include \"a\"; 1", "not supported");
    for name in ["read_file", "getenv", "@nonsense"] {
        refused(name, "there is no filter");
    }
}

/// Every native filter is either known to look at its input only, or left out: a new version of the library that
/// brings another one has to be looked at.
#[test]
fn the_library_holds_no_filter_that_nobody_has_looked_at() {
    let seen: Vec<&str> = jaq_core::funs::<Data>()
        .chain(jaq_std::funs())
        .chain(jaq_json::funs())
        .map(|fun| fun.0)
        .filter(|name| {
            ["env", "time", "now", "input", "stderr", "debug", "halt", "file", "exec"]
                .iter()
                .any(|word| name.contains(word))
        })
        .filter(|name| !FORBIDDEN.contains(name))
        .collect();
    assert_eq!(seen, ["strftime", "gmtime", "strptime", "mktime"]);
}

#[test]
fn a_filter_that_is_none_says_where() {
    refused(".a | (", "expected closing parenthesis at its end");
    refused(".a\n  | ]", "line 2, column 5");
    refused("\"\\q\"", "expected");
    refused(".a |", "at its end");
    refused("$x", "there is no variable `$x`");
}

#[test]
fn errors_of_the_filter_are_its_failure() {
    assert!(matches!(evaluate("error(\"no\")", json!(1)), Answer::Failed(why) if why.contains("no")));
    assert!(matches!(evaluate(". + {}", json!(1)), Answer::Failed(_)));
}

#[test]
fn outputs_beyond_a_limit_are_refused_by_its_name() {
    let why = |filter: &str, value: Value| match evaluate(filter, value) {
        Answer::BadOutput(why) => why,
        other => panic!("{filter}: {other:?}"),
    };
    assert!(why("reduce range(100) as $i (1; [.])", json!(null)).contains("depth limit"));
    assert!(why("\"x\" * 5000000", json!(null)).contains("payload limit"));
    assert!(why("[range(1000001)]", json!(null)).contains("payload limit"));
    assert!(why("{(1): 2}", json!(null)).contains("keys are text"));
    assert!(why("tobytes", json!("a")).contains("raw bytes"));
}
