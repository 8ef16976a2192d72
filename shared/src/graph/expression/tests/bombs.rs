//! No expression takes the process down or holds it up.

use super::*;

#[track_caller]
fn stopped(source: &str, inputs: Json, limit: &str) {
    let reason = evaluated(source, inputs).expect_err(source);
    assert!(reason.contains(limit), "{source}: {reason}");
}

fn items(count: usize) -> Json {
    json!({"items": (0..count).collect::<Vec<_>>(), "text": "a".repeat(100_000)})
}

#[test]
fn nested_loops_run_out_of_steps() {
    stopped(
        "inputs.items.exists(a, inputs.items.exists(b, inputs.items.exists(c, a + b + c < 0)))",
        items(10_000),
        "work limit",
    );
    stopped("inputs.items.map(a, inputs.items.map(b, a)).size()", items(10_000), "limit");
    stopped("inputs.items.filter(a, a in inputs.items.map(b, b + 1)).size()", items(10_000), "limit");
}

#[test]
fn no_operator_swallows_an_empty_budget() {
    let endless = "inputs.items.all(a, inputs.items.all(b, a + b >= 0))";
    stopped(&format!("{endless} || true"), items(10_000), "work limit");
    stopped(&format!("{endless} && false"), items(10_000), "work limit");
    stopped(&format!("[1, 2, 3].exists(x, {endless} || x == 3)"), items(10_000), "work limit");
}

#[test]
fn doubling_runs_out_of_memory_budget_and_not_of_memory() {
    let doubled = |start: &str, times: usize| format!("[{start}]{}.size()", ".map(a, a + a)".repeat(times));
    stopped(&doubled("inputs.text", 40), items(1), "limit");
    stopped(&doubled("inputs.items", 40), items(1000), "limit");
    stopped(&doubled("'ab'", 60), items(1), "limit");
    stopped("inputs.text.replace('a', inputs.text).size()", items(1), "limit");
    stopped("lists.range(100000000).size()", items(1), "limit");
    stopped("inputs.text.split('').map(x, inputs.text).join().size()", items(1), "limit");
}

#[test]
fn shared_lists_do_not_print_themselves_to_death() {
    // Each `map` doubles what a printer sees while adding two references to what is stored.
    stopped(&format!("[[1]]{}", ".map(a, [a, a])".repeat(40)), items(1), "payload limit");
    let deep = format!("[[1]]{}", ".map(a, [a, a])".repeat(30));
    stopped(&format!("{deep} == {deep}"), items(1), "work limit");
    stopped(&format!("[[1]]{}", ".map(a, [a])".repeat(70)), items(1), "depth limit");
}

#[test]
fn patterns_cannot_explode() {
    stopped("inputs.text.matches('(a{1,1000}){1,1000}')", items(1), "pattern limit");
    let text = json!({"text": "a".repeat(20_000)});
    assert_eq!(evaluated("inputs.text.matches('^(a+)+$')", text.clone()), Ok(json!(true)));
    assert_eq!(evaluated("inputs.text.matches('^(a|a)*b$')", text), Ok(json!(false)));
    stopped("inputs.items.exists(i, inputs.text.matches('^(a|a)*b$'))", items(1000), "work limit");
    stopped("inputs.items.exists(i, 'a'.matches('^b' + string(i)))", items(1000), "work limit");
}

#[test]
fn long_and_deep_texts_are_refused_when_they_are_compiled() {
    let refused = |source: String, limit: &str| {
        let problem = compiled(&source).map(|_| ()).expect_err(&source);
        assert!(problem.reason.contains(limit), "{source}: {problem:?}");
    };
    refused("1+".repeat(600) + "1", "length limit");
    refused("1+".repeat(500) + "1", "depth limit");
    refused("x".repeat(100_000), "length limit");
    for (open, close) in
        [("(", ")"), ("[", "]"), ("!(", ")"), ("-(", ")"), ("{'a':", "}"), ("inputs[", "]"), ("size(", ")")]
    {
        let times = 1000 / (open.len() + close.len());
        let _ = compiled(&format!("{}1{}", open.repeat(times), close.repeat(times))).map_err(|problem| problem.reason);
        refused(open.repeat(1000 / open.len()), "");
    }
    for chain in ["!", "-", "inputs.a.", "a?b:", "inputs.a&&", "inputs.a||", "1<", "[1]+", ".a", "'a'+"] {
        let _ = compiled(&chain.repeat(1000 / chain.len())).map_err(|problem| problem.reason);
        let _ = compiled(&(chain.repeat(990 / chain.len()) + "inputs")).map_err(|problem| problem.reason);
    }
}

/// The deepest expression that is accepted, evaluated on a thread an eighth of the size that servers use.
#[test]
fn what_is_accepted_fits_a_small_stack() {
    let deepest: Vec<Expression> = ["inputs.a+", "inputs.b||", "inputs.a<1&&"]
        .into_iter()
        .flat_map(|chain| {
            (1..=1000 / chain.len()).rev().find_map(|times| {
                compiled(&(chain.repeat(times) + if chain.ends_with('+') { "1" } else { "true" })).ok()
            })
        })
        .chain((1..200).rev().find_map(|times| compiled(&format!("inputs{}", ".a".repeat(times))).ok()))
        .collect();
    assert_eq!(deepest.len(), 4);
    std::thread::Builder::new()
        .stack_size(256 * 1024)
        .spawn(move || {
            for expression in &deepest {
                let _ = expression.evaluate(&Given::inputs(json!({"a": 1, "b": false})));
            }
        })
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn a_list_is_decoded_once_for_all_its_items() {
    let scope = Given::inputs(json!({"items": (0..100_000).map(|n| json!({"n": n})).collect::<Vec<_>>()}));
    let expression = compiled("inputs.items[index].n + size(inputs.items)").unwrap();
    // Decoding anew would take a million nodes each time: minutes in a debug build, against a fraction of a second.
    for _ in 0..2000 {
        assert_eq!(expression.evaluate(&scope).unwrap().to_json(), json!(100_003));
    }
}

#[test]
fn values_too_large_to_look_into_are_refused_and_still_passed_on_by_reference() {
    struct Wide(Data);
    impl Scope for Wide {
        fn inputs(&self) -> &Data {
            &self.0
        }
        fn step(&self, _: &str) -> Option<StepView<'_>> {
            Some(StepView { output: Some(OutputView::All(vec![&self.0; 30])), error: None, iterations: 1 })
        }
        fn output(&self) -> Option<OutputView<'_>> {
            None
        }
        fn error(&self) -> Option<&ExecutionError> {
            None
        }
        fn item(&self) -> Option<(&Data, u32)> {
            None
        }
        fn iteration(&self) -> Option<u32> {
            None
        }
        fn execution_id(&self) -> String {
            String::new()
        }
    }
    let scope = Wide(Data::from_json(&json!(vec![1; 100_000])).unwrap());
    let reason = compiled("size(steps.done.output)").unwrap().evaluate(&scope).unwrap_err().reason;
    assert!(reason.contains("data limit"), "{reason}");
    assert!(template(&json!("=steps.done.output")).reference().is_some());
}

proptest::proptest! {
    #[test]
    fn any_text_is_an_expression_or_refused(source in "[a-z0-9.()\\[\\]{}+*/%<>=!&|?:,' \"_-]{0,80}") {
        if let Ok(expression) = compiled(&source) {
            let _ = expression.evaluate(&Given::inputs(json!({"a": [1, {"b": "c"}]}))).map_err(|error| error.to_string());
        }
    }
}
