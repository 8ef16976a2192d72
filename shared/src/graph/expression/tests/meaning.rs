//! Values, scopes and templates.

use super::*;

#[track_caller]
fn gives(source: &str, wanted: Json) {
    assert_eq!(
        evaluated(source, json!({"a": 1, "list": [3, 1, 2], "text": "Hällo", "big": u64::MAX})),
        Ok(wanted),
        "{source}"
    );
}

#[track_caller]
fn fails(source: &str, reason: &str) {
    let found = evaluated(source, json!({"a": 1, "list": [3, 1, 2]})).expect_err(source);
    assert!(found.contains(reason), "{source}: {found}");
}

#[test]
fn names_mean_what_the_scope_holds() {
    gives("inputs.a", json!(1));
    gives("steps.done.output.x + item.id + index + iteration", json!(5 + 7 + 3 + 4));
    gives("steps.done.iterations", json!(2));
    gives("steps[\"failed\"].error", json!({"category": "NetworkError", "message": "refused", "code": "rate_limit"}));
    gives("error.code + execution.id", json!("rate_limitexec_1"));
    gives("output.quality < 0.9", json!(true));
    gives("[has(steps.done.output), has(steps.waiting.output), has(steps.failed.error)]", json!([true, false, true]));
    gives("steps.waiting", json!({"iterations": 0}));
    gives("has(inputs.b) ? inputs.b : 'none'", json!("none"));
    fails("steps.waiting.output", "test with has(steps.waiting.output)");
    fails("inputs.b", "no key `b`");
}

#[test]
fn numbers_keep_their_kind_and_compare_by_value() {
    gives("[1, 1.0, -3, 2.5]", json!([1, 1.0, -3, 2.5]));
    gives(
        "[1 == 1.0, 1 < 1.5, inputs.big > 1, 3 in inputs.list, 3.0 in inputs.list]",
        json!([true, true, true, true, true]),
    );
    gives("inputs.big", json!(u64::MAX));
    gives("[7 / 2, -7 / 2, 7 % 3, -7 % 3, 7.0 / 2.0]", json!([3, -3, 1, -1, 3.5]));
    fails("inputs.a + 1.5", "int + double is not defined; convert one with int(…) or double(…)");
    fails("inputs.a / (inputs.a - 1)", "division by zero");
    fails("9223372036854775807 + inputs.a", "out of range");
    fails("-9223372036854775807 - 2", "out of range");
    fails("double(inputs.a) / 0.0", "no JSON number");
}

#[test]
fn functions_do_what_cel_says() {
    gives("[size(inputs.text), size(inputs.list), size(inputs)]", json!([5, 3, 4]));
    gives("inputs.list.filter(x, x > 1).map(x, x * 2)", json!([6, 4]));
    gives("inputs.list.map(x, x > 1, x * 2)", json!([6, 4]));
    gives(
        "[inputs.list.all(x, x > 0), inputs.list.exists(x, x > 2), inputs.list.exists_one(x, x > 1)]",
        json!([true, true, false]),
    );
    gives("{'b': 1, 'a': 2}.map(k, k)", json!(["a", "b"]));
    gives("inputs.list.map(x, inputs.list.map(y, x * y))", json!([[9, 3, 6], [3, 1, 2], [6, 2, 4]]));
    gives("[inputs.list.sum(), inputs.list.min(), max(inputs.list), math.least(3, 1)]", json!([6, 1, 3, 1]));
    gives("[1, 2.5].sum()", json!(3.5));
    gives(
        "[inputs.list.sort(), inputs.list.reverse(), [1, 1.0, 2, 1].distinct(), inputs.list.slice(1, 3)]",
        json!([[1, 2, 3], [2, 1, 3], [1, 2], [1, 2]]),
    );
    gives("[[1], [2, [3]]].flatten()", json!([1, 2, [3]]));
    gives(
        "[inputs.text.upperAscii(), inputs.text.substring(1, 3), inputs.text.indexOf('l'), inputs.text.charAt(1)]",
        json!(["HäLLO", "äl", 2, "ä"]),
    );
    gives(
        "['a,b'.split(','), ['a,b'.split('')], [' x '.trim()], ['aXbX'.replace('X', '-', 1)]]",
        json!([["a", "b"], [["a", ",", "b"]], ["x"], ["a-bX"]]),
    );
    gives("[['a', 'b'].join('-'), string(1), string(1.5), string(true)]", json!(["a-b", "1", "1.5", "true"]));
    gives("[int('12'), int(3.9), double(2), bool('true'), uint(3)]", json!([12, 3, 2.0, true, 3]));
    gives("[type(1) == int, type(inputs) == map, type('') == int]", json!([true, true, false]));
    gives("[inputs.text.matches('^H.*o$'), 'abc'.contains('b'), 'abc'.startsWith('b')]", json!([true, true, false]));
    fails("inputs.list.map(x, y)", "there is no `y`");
    fails("int(inputs.list)", "int(list) is not possible");
}

#[test]
fn a_side_that_decides_makes_the_other_sides_error_irrelevant() {
    gives("inputs.missing || true", json!(true));
    gives("inputs.missing && false", json!(false));
    gives("[0, 1].exists(x, 1 / x == 1)", json!(true));
    fails("inputs.missing || false", "no key");
    fails("[0, 2].exists(x, 1 / x == 1)", "division by zero");
}

#[test]
fn a_guard_must_be_a_boolean() {
    let scope = Given::inputs(json!({"a": 1}));
    assert_eq!(compiled("inputs.a == 1").unwrap().holds(&scope), Ok(true));
    assert!(compiled("inputs.a").unwrap().holds(&scope).unwrap_err().reason.contains("gives a boolean"));
}

#[test]
fn results_have_the_bytes_of_the_same_json() {
    let value = json!({"z": [1, -1, 255, 256, -129, 70_000, 5_000_000_000_i64, -5_000_000_000_i64, u64::MAX, 1.5, 1.0], "a": {"k": null, "t": true}, "s": "x".repeat(300)});
    let scope = Given::inputs(value.clone());
    let data = compiled("{'z': inputs.z, 's': inputs.s, 'a': inputs.a}").unwrap().evaluate(&scope).unwrap();
    assert_eq!(data, Data::from_json(&value).unwrap());
}

#[test]
fn templates_hold_expressions_anywhere_and_escape_them() {
    let scope = Given::inputs(json!({"a": 1}));
    let json = json!({"x": ["=inputs.a", {"y": "=item.id"}], "escaped": "==x", "plain": "x=1", "n": null, "big": 1e30});
    let wanted = json!({"x": [1, {"y": 7}], "escaped": "=x", "plain": "x=1", "n": null, "big": 1e30});
    assert_eq!(template(&json).evaluate(&scope).unwrap().to_json(), wanted);
    assert_eq!(template(&json).source(), json.to_string());
}

#[test]
fn templates_of_one_whole_value_are_references() {
    for (text, wanted) in [
        ("=inputs", Some(Reference::Inputs)),
        ("= inputs ", Some(Reference::Inputs)),
        ("=item", Some(Reference::Item)),
        ("=steps.done.output", Some(Reference::StepOutput("done".to_owned()))),
        ("=steps[\"done\"].output", Some(Reference::StepOutput("done".to_owned()))),
        ("=inputs.a", None),
        ("=steps.done.error", None),
        ("==inputs", None),
    ] {
        assert_eq!(template(&json!(text)).reference(), wanted, "{text}");
    }
    assert_eq!(template(&json!(["=inputs"])).reference(), None);
}

#[test]
fn a_maps_outputs_read_as_a_list() {
    struct Mapped(Vec<Data>, ExecutionError);
    impl Scope for Mapped {
        fn inputs(&self) -> &Data {
            &self.0[0]
        }
        fn step(&self, node: &str) -> Option<StepView<'_>> {
            let output = match node {
                "done" => OutputView::All(self.0.iter().collect()),
                _ => OutputView::Settled(vec![Ok(&self.0[1]), Err(&self.1)]),
            };
            Some(StepView { output: Some(output), error: None, iterations: 1 })
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
    let data = |json| Data::from_json(&json).unwrap();
    let scope =
        Mapped(vec![data(json!(1)), data(json!({"risk": 0.9}))], ExecutionError::new(ErrorCategory::Timeout, "late"));
    let given = |source: &str| compiled(source).unwrap().evaluate(&scope).unwrap().to_json();
    assert_eq!(given("steps.done.output"), json!([1, {"risk": 0.9}]));
    assert_eq!(
        given("steps.waiting.output"),
        json!([{"status": "completed", "value": {"risk": 0.9}}, {"status": "failed", "error": {"category": "Timeout", "message": "late"}}])
    );
    assert_eq!(given("steps.waiting.output.exists(s, s.status == 'completed' && s.value.risk > 0.8)"), json!(true));
}

/// The `cel` crate evaluates too. Where both give a value, it is the same.
#[test]
fn the_evaluator_agrees_with_the_one_of_the_cel_crate() {
    for source in [
        "1 + 2 * 3 - 4",
        "7 / 2",
        "-7 / 2",
        "-7 % 3",
        "2.5 * 2.0",
        "1.0 / 4.0",
        "'a' + 'b'",
        "[1] + [2, 3]",
        "1 == 1.0",
        "1 != 2",
        "'a' < 'b'",
        "2 >= 2",
        "1 < 2.5",
        "true && false",
        "true || false",
        "!true",
        "1 in [1, 2]",
        "'a' in {'a': 1}",
        "3 in [1, 2]",
        "{'a': {'b': 5}}.a.b",
        "{'a': 1}['a']",
        "[1, 2, 3][1]",
        "has({'a': 1}.a)",
        "has({'a': 1}.b)",
        "true ? 1 : 2",
        "[1, 2, 3].map(x, x * x)",
        "[1, 2, 3].filter(x, x % 2 == 1)",
        "[1, 2, 3].all(x, x > 0)",
        "[1, 2].exists(x, x == 2)",
        "[1, 2, 2].exists_one(x, x == 2)",
        "[0, 1].exists(x, 1 / x == 1)",
        "[1, 2, 3].map(x, x > 1, x + 1)",
        "size('häl')",
        "size([1, 2])",
        "'abc'.size()",
        "'abc'.contains('bc')",
        "'abc'.startsWith('ab')",
        "'abc'.endsWith('ab')",
        "int('5')",
        "int(2.9)",
        "int(-2.9)",
        "double('2.5')",
        "double(3)",
        "string(12)",
        "string(1.5)",
        "string(2.0)",
        "string(true)",
        "{'a': [1, {'b': null}]} == {'a': [1, {'b': null}]}",
        "[1, 2] == [1.0, 2.0]",
        "1u + 2u",
        "5u == 5",
        "-(3)",
        "- 2.5",
        "[[1, 2], [3]].map(l, l.map(x, x + 1))",
        "'a' == 1",
        "null == null",
    ] {
        let theirs = cel::Program::compile(source).unwrap().execute(&cel::Context::default()).unwrap();
        assert_eq!(evaluated(source, json!({})), Ok(as_json(&theirs)), "{source}");
    }
}

fn as_json(value: &cel::Value) -> Json {
    match value {
        cel::Value::Null => Json::Null,
        cel::Value::Bool(bool) => json!(bool),
        cel::Value::Int(int) => json!(int),
        cel::Value::UInt(uint) => json!(uint),
        cel::Value::Float(double) => json!(double),
        cel::Value::String(text) => json!(text.as_str()),
        cel::Value::List(items) => items.iter().map(as_json).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_answer_that_depends_on_a_value_that_was_put_away_is_none() {
    let away = |content_type: &str| {
        let digest = crate::artifact::ContentHash::of(b"x");
        let id = crate::artifact::artifact_id(crate::id::Id::from_bytes([1; 20]), None, "a", &digest);
        crate::artifact::Reference { id, digest, size: 200_000, content_type: content_type.to_owned() }.to_json()
    };
    let inputs = json!({"doc": away(crate::artifact::VALUE_CONTENT_TYPE), "page": away("image/png"), "list": ["a"]});
    for source in [
        "has(inputs.doc.total)",
        "'total' in inputs.doc",
        "inputs.doc == 'text'",
        "['text'] != [inputs.doc]",
        "inputs.doc == {'total': 1}",
        "inputs.doc in inputs.list",
        "'text' in [inputs.doc]",
        "[inputs.doc, 'text'].distinct()",
        "inputs.doc.total",
        "size(inputs.doc)",
    ] {
        let found = evaluated(source, inputs.clone()).expect_err(source);
        assert!(found.contains("artifact store"), "{source}: {found}");
    }
    for (source, wanted) in [
        ("inputs.doc == null", json!(false)),
        ("inputs.doc == inputs.doc", json!(true)),
        ("inputs.doc == 5 || inputs.doc == true", json!(false)),
        ("[inputs.doc] == []", json!(false)),
        ("has(inputs.doc)", json!(true)),
        ("inputs.doc['$artifact'].size", json!(200_000)),
        ("'$artifact' in inputs.doc", json!(true)),
        // Of what a callable has stored as an artifact, the reference is the value.
        ("inputs.page == 'text' || has(inputs.page.total) || 'total' in inputs.page", json!(false)),
    ] {
        assert_eq!(evaluated(source, inputs.clone()), Ok(wanted), "{source}");
    }
}
