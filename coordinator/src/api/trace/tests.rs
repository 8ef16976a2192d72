use super::*;

const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())).collect()
}

#[test]
fn a_traceparent_is_taken_by_the_letter() {
    let later = format!("01{}", &GOOD[2..]);
    let extended = format!("{later}-something");
    for text in [GOOD, &later, &extended] {
        assert!(is_traceparent(text), "{text}");
    }
    let bad = [
        "".to_owned(),
        "00".to_owned(),
        GOOD.to_uppercase(),
        format!("{GOOD}-more"),
        format!("{GOOD} "),
        format!("ff{}", &GOOD[2..]),
        GOOD.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
        GOOD.replace("b7ad6b7169203331", &"0".repeat(16)),
        GOOD.replace("b7ad6b7169203331", "b7ad6b716920333g"),
        GOOD[..54].to_owned(),
        format!("{}x", &GOOD[..54]),
    ];
    for text in bad {
        assert!(!is_traceparent(&text), "{text}");
    }
}

#[test]
fn a_broken_trace_is_dropped_with_its_state() {
    let trace =
        trace_context(&headers(&[("traceparent", GOOD), ("tracestate", "a=1"), ("tracestate", "b=2")])).unwrap();
    assert_eq!((trace.traceparent.as_str(), trace.tracestate.as_deref()), (GOOD, Some("a=1,b=2")));
    assert_eq!(trace_context(&headers(&[("traceparent", "00-1-2-3"), ("tracestate", "a=1")])), None);
    assert_eq!(trace_context(&headers(&[("traceparent", GOOD), ("traceparent", GOOD)])), None);
    assert_eq!(trace_context(&headers(&[("tracestate", "a=1")])), None);
    let long = "a".repeat(TRACESTATE_MAX + 1);
    let trace = trace_context(&headers(&[("traceparent", GOOD), ("tracestate", &long)])).unwrap();
    assert_eq!(trace.tracestate, None);
}

#[test]
fn fresh_ids_differ() {
    assert_ne!(fresh_id(), fresh_id());
}
