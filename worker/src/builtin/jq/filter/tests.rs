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
/// brings another one has to be looked at, and then added here or to [`FORBIDDEN`].
#[test]
fn the_library_holds_no_filter_that_nobody_has_looked_at() {
    let mut found: Vec<String> = jaq_core::funs::<Data>()
        .chain(jaq_std::funs())
        .chain(jaq_json::funs())
        .filter(|fun| !FORBIDDEN.contains(&fun.0))
        .map(|fun| format!("{}/{}", fun.0, fun.1.len()))
        .collect();
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.join(" "), LOOKED_AT.split_whitespace().collect::<Vec<_>>().join(" "));
}

/// Names and numbers of arguments, in order.
const LOOKED_AT: &str = "
    acos/0 acosh/0 ascii_downcase/0 ascii_upcase/0 asin/0 asinh/0 atan/0 atan2/2 atanh/0 bsearch/1 cbrt/0 ceil/0
    contains/1 copysign/2 cos/0 cosh/0 decode_base64/0 decode_uri/0 encode_base64/0 encode_uri/0 endswith/1 erf/0
    erfc/0 error_empty/0 escape_html/0 escape_sh/0 exp/0 exp10/0 exp2/0 explode/0 expm1/0 fabs/0 fdim/2 first/1
    floor/0 fma/3 fmax/2 fmin/2 fmod/2 frexp/0 fromdateiso8601/0 fromjson/0 gmtime/0 group_by/1 has/1 hypot/2
    ilogb/0 implode/0 indices/1 j0/0 j1/0 jn/2 key_values/0 keys_unsorted/0 last/1 ldexp/2 length/0 lgamma/0
    limit/2 log/0 log10/0 log1p/0 log2/0 ltrim/0 ltrimstr/1 matches/2 max_by_or_empty/1 min_by_or_empty/1 mktime/0
    modf/0 nearbyint/0 nextafter/2 path/1 path_value/1 pow/2 range/3 remainder/2 reverse/0 rint/0 round/0 rtrim/0
    rtrimstr/1 scalbln/2 sin/0 sinh/0 skip/2 sort/0 sort_by/1 split_/2 split_matches/2 sqrt/0 startswith/1
    strftime/1 strptime/1 tan/0 tanh/0 tgamma/0 tobytes/0 todateiso8601/0 tojson/0 trim/0 trunc/0 unescape_html/0
    utf8bytelength/0 y0/0 y1/0 yn/2
";

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
