//! What good documents become.

use std::time::Duration;

use super::*;
use crate::error::{BackoffStrategy, ErrorCategory, Jitter};

const REVIEW: &str = include_str!("good/review.yaml");
const NESTED: &str = include_str!("good/nested_loops.yaml");

fn node<'a>(graph: &'a CompiledGraph, name: &str) -> &'a Node {
    &graph.nodes[graph.by_name[name].0 as usize]
}

#[test]
fn a_document_compiles_with_everything_it_says() {
    let graph = good("review.yaml", REVIEW);
    assert_eq!((graph.name.as_str(), graph.version.as_str()), ("review-orders", "1.4.0"));
    assert_eq!(
        graph.limits,
        GraphLimits { max_steps: 20_000, wall_time: Some(Duration::from_secs(7200)), ..GraphLimits::most() }
    );
    assert_eq!(names(&graph, &graph.start), ["fetch"]);
    let NodeKind::Task(fetch) = &node(&graph, "fetch").kind else { panic!("a task") };
    let retry = fetch.retry.unwrap();
    assert_eq!(
        (retry.max_attempts, retry.backoff, retry.base_ms, retry.max_ms, retry.jitter),
        (4, BackoffStrategy::Exponential, 500, 15_000, Jitter::Full)
    );
    assert_eq!(fetch.timeouts.heartbeat, Some(Duration::from_secs(10)));
    let NodeKind::Map(score) = &node(&graph, "score").kind else { panic!("a map") };
    assert_eq!((score.max_concurrency, score.collect, score.task.priority), (50, Collect::AllSettled, Priority::High));
    assert_eq!(node(&graph, "decide").routing, Routing::First);
    assert_eq!(node(&graph, "report").join, Join::Any);
    assert_eq!(node(&graph, "report").forward_in, 2);
    let caught = node(&graph, "fetch").out.iter().map(|edge| &graph.edges[edge.0 as usize].kind);
    assert!(
        caught
            .into_iter()
            .any(|kind| matches!(kind, EdgeKind::Catch(categories) if categories[..] == [ErrorCategory::NetworkError]))
    );
    assert_eq!(node(&graph, "polish").label.as_deref(), Some("Polish \"it\" <again>"));
    assert!(graph.input_problems(&serde_json::json!({"url": "x"})).is_empty());
    assert_eq!(graph.input_problems(&serde_json::json!({"url": 5})).len(), 1);
}

#[test]
fn a_self_loop_counts_its_edges_as_back_edges() {
    let graph = good("review.yaml", REVIEW);
    let polish = node(&graph, "polish");
    let [found] = graph.loops.as_slice() else { panic!("one loop") };
    assert_eq!((names(&graph, &found.body), found.members, found.depth), (vec!["polish"], 1, 0));
    assert_eq!((polish.forward_in, polish.in_loop), (1, Some(LoopIx(0))));
    let back: Vec<_> = polish.out.iter().map(|edge| graph.edges[edge.0 as usize].back).collect();
    assert_eq!(back, [Some(LoopIx(0)), None]);
    assert_eq!(found.exits, [polish.out[1]]);
}

#[test]
fn loops_nest_and_say_what_leaves_them() {
    let graph = good("nested.yaml", NESTED);
    assert_eq!(names(&graph, &graph.start), ["outer"]);
    let [outer, inner] = graph.loops.as_slice() else { panic!("two loops") };
    assert_eq!(names(&graph, &[outer.header, inner.header]), ["outer", "inner"]);
    assert_eq!(names(&graph, &outer.body), ["body", "inner", "outer", "tail"]);
    assert_eq!(names(&graph, &inner.body), ["body", "inner"]);
    assert_eq!((outer.members, inner.members), (3, 2), "outer, tail and the inner loop; inner and body");
    assert_eq!((inner.parent, inner.depth, &outer.inner[..]), (Some(LoopIx(0)), 1, &[LoopIx(1)][..]));
    let leaving = |from: &str, to: &str| {
        let edge =
            graph.edges.iter().find(|edge| edge.from == graph.by_name[from] && edge.to == graph.by_name[to]).unwrap();
        (edge.back, edge.exits)
    };
    let (outer, inner) = (Some(LoopIx(0)), Some(LoopIx(1)));
    assert_eq!(leaving("body", "inner"), (inner, None));
    assert_eq!(leaving("body", "outer"), (outer, inner), "the next round of the outer loop leaves the inner one");
    assert_eq!(leaving("body", "done"), (None, outer));
    assert_eq!(leaving("body", "tail"), (None, inner));
    assert_eq!(leaving("outer", "inner"), (None, None));
}

const INLINE: &str = include_str!("good/inline.yaml");

#[test]
fn a_graph_in_a_graph_is_flat_and_its_nodes_have_paths() {
    let graph = good("inline.yaml", INLINE);
    let all: Vec<&str> = graph.nodes.iter().map(|node| node.name.as_str()).collect();
    let expected = [
        "fetch",
        "sorry",
        "tidy",
        "tidy.@inputs",
        "tidy.check",
        "tidy.deep",
        "tidy.deep.@inputs",
        "tidy.deep.last",
        "tidy.trim",
    ];
    assert_eq!(all, expected);
    assert_eq!(names(&graph, &graph.start), ["fetch"]);
    let [around, region, check, deep] = graph.loops.as_slice() else { panic!("two loops and two graphs") };
    assert_eq!((names(&graph, &[around.header])[0], around.frame), ("tidy.@inputs", None));
    assert_eq!((around.members, around.inner.len()), (3, 3), "the two nodes and the graph between them");
    assert_eq!((region.parent, region.members), (Some(LoopIx(0)), 5), "trim, deep twice, a loop, a graph");
    assert_eq!((check.parent, check.members, check.frame), (Some(LoopIx(1)), 1, None));
    assert_eq!((deep.parent, deep.members), (Some(LoopIx(1)), 1));
    assert_eq!(graph.frames.len(), 2);
    assert_eq!(graph.named(Some(crate::graph::FrameIx(0)), "check"), graph.by_name.get("tidy.check").copied());
}

#[test]
fn names_are_replaced_by_what_they_stand_for_before_the_digest_is_made() {
    let source = |text| Source { name: "g.yaml", text };
    let inner = good("g.yaml", "stepstream: 1\nname: inner\nlimits: { max_steps: 9 }\nnodes: { a: { task: t } }\n");
    let by_name = "stepstream: 1\nname: outer\nnodes: { k: { graph: inner@1, spawn: { mode: inline } } }\n";
    let in_place = "stepstream: 1\nname: outer\nnodes: { k: { graph: { stepstream: 1, name: inner, nodes: { a: { task: t } } }, spawn: { mode: inline } } }\n";
    assert_eq!(inline_references(&source(by_name)), ["inner@1"]);
    assert!(inline_references(&source(in_place)).is_empty());
    let documents = std::collections::HashMap::from([("inner@1".to_owned(), inner.canonical)]);
    let found = compile_knowing(&source(by_name), &documents).unwrap();
    assert_eq!(found.digest, good("g.yaml", in_place).digest);
    assert_eq!(CompiledGraph::from_canonical(&found.canonical).unwrap().digest, found.digest);
    let unlooked = compile_unlooked(&source(by_name)).unwrap();
    assert_ne!(unlooked.digest, found.digest);
    let problems = compile(&source(by_name)).unwrap_err();
    assert_eq!(problems.iter().map(|problem| problem.code).collect::<Vec<_>>(), ["unknown-graph"]);
}

#[test]
fn equal_documents_have_equal_digests_in_either_language_and_any_order() {
    let yaml = good(
        "a.yaml",
        "stepstream: 1\nname: g\nnodes:\n  b: { task: echo, with: { y: 1.0, x: NO } }\n  a: { task: echo, next: { to: b } }\n",
    );
    let json = good(
        "a.json",
        r#"{"nodes": {"a": {"next": {"to": "b"}, "task": "echo"}, "b": {"task": "\u0065cho", "with": {"x": "NO", "y": 1.0}}}, "name": "g", "stepstream": 1}"#,
    );
    assert_eq!(yaml.digest, json.digest);
    assert_eq!(yaml.canonical, json.canonical);
    let other = good(
        "a.yaml",
        "stepstream: 1\nname: g\nnodes:\n  b: { task: echo, with: { y: 1, x: NO } }\n  a: { task: echo, next: { to: b } }\n",
    );
    assert_ne!(yaml.digest, other.digest, "1 is not 1.0");
}

#[test]
fn a_stored_graph_is_the_one_that_was_registered() {
    for text in [REVIEW, NESTED, INLINE] {
        let graph = good("g.yaml", text);
        let stored = CompiledGraph::from_canonical(&graph.canonical).unwrap();
        assert_eq!(stored.digest, graph.digest);
        assert_eq!(stored.canonical, graph.canonical);
        assert_eq!(format!("{:?}", stored.nodes), format!("{:?}", graph.nodes));
        assert_eq!(format!("{:?}", stored.edges), format!("{:?}", graph.edges));
        assert_eq!(format!("{:?}", stored.loops), format!("{:?}", graph.loops));
    }
}

#[test]
fn a_digest_is_forever() {
    let graph = good("a.yaml", "stepstream: 1\nname: g\nnodes: { a: { task: echo } }\n");
    assert_eq!(graph.canonical, r#"{"name":"g","nodes":{"a":{"task":"echo"}},"stepstream":1}"#);
    insta::assert_snapshot!(graph.digest.to_string(), @"graph_IZEsRPfsFZYdqBUMQsASV59Whp5");
}

#[test]
fn anchors_and_merge_keys_save_repetition() {
    let graph = good(
        "a.yaml",
        "stepstream: 1\nname: g\nnodes:\n  a: &base { task: echo, queue: slow }\n  b: { <<: *base, priority: low }\n",
    );
    let NodeKind::Task(task) = &node(&graph, "b").kind else { panic!("a task") };
    assert_eq!((task.queue.as_str(), task.priority), ("slow", Priority::Low));
}

#[test]
fn a_wide_graph_compiles_in_linear_time() {
    // The widest recorded workflow has 2,122 tasks, 6,114 edges and a fan-in of 1,100.
    let build = |nodes: usize| {
        let mut text = String::from("{\"stepstream\":1,\"name\":\"wide\",\"nodes\":{\"sink\":{\"task\":\"echo\"}");
        for node in 0..nodes {
            let next: Vec<String> = [node + 1, node + 7]
                .iter()
                .filter(|to| **to < nodes)
                .map(|to| format!("{{\"to\":\"n{to}\"}}"))
                .collect();
            let next = next
                .into_iter()
                .chain((node % 2 == 0).then(|| "{\"to\":\"sink\"}".to_owned()))
                .collect::<Vec<_>>()
                .join(",");
            text.push_str(&format!(
                ",\"n{node}\":{{\"task\":\"sleep\",\"with\":{{\"seconds\":{node}.5}},\"next\":[{next}]}}"
            ));
        }
        text.push_str("}}");
        text
    };
    let graph = good("wide.json", &build(2200));
    assert_eq!(node(&graph, "sink").forward_in, 1100);
    let graph = good("wide.json", &build(19_999));
    assert_eq!(graph.nodes.len(), 20_000);
}

#[test]
fn a_node_knows_the_nearest_race_that_it_runs_only_for() {
    let graph = good("races_and_undo.yaml", include_str!("good/races_and_undo.yaml"));
    let runs_for = |name: &str| node(&graph, name).runs_for.map(|join| graph.nodes[join.0 as usize].name.as_str());
    for name in ["turn", "side", "inner"] {
        assert_eq!(runs_for(name), Some("won"), "{name}");
    }
    assert_eq!((runs_for("left"), runs_for("right")), (Some("inner"), Some("inner")));
    for name in ["begin", "free", "elsewhere", "won"] {
        assert_eq!(runs_for(name), None, "{name} also leads elsewhere, or nowhere");
    }
    assert_eq!(names(&graph, &node(&graph, "won").runners), ["inner", "side", "turn"]);
}

#[test]
fn an_undo_is_taken_from_the_queue_of_its_step_unless_it_names_its_own() {
    let graph = good("races_and_undo.yaml", include_str!("good/races_and_undo.yaml"));
    let undo = |name: &str| node(&graph, name).undo.as_ref().map(|task| (task.callable.as_str(), task.queue.as_str()));
    assert_eq!(undo("free"), Some(("unfree", "fast")));
    assert_eq!(undo("right"), Some(("unright", "slow")));
    assert_eq!(undo("left"), Some(("unleft", "default")));
    assert_eq!(node(&graph, "left").undo.as_ref().unwrap().retry.unwrap().max_attempts, 5);
    assert_eq!(undo("won"), None);
}

/// Thousands of races in a row, each with two branches: neither the search nor what it finds grows beyond them.
#[test]
fn races_in_a_row_cost_no_more_than_they_are() {
    let mut text =
        String::from("stepstream: 1\nname: g\nnodes:\n  z0: { task: t, next: [ { to: a1 }, { to: b1 } ] }\n");
    const RACES: usize = 6000;
    for at in 1..=RACES {
        let next = if at < RACES { format!("next: [ {{ to: a{0} }}, {{ to: b{0} }} ]", at + 1) } else { String::new() };
        text.push_str(&format!(
            "  a{at}: {{ task: t, next: {{ to: z{at} }} }}\n  b{at}: {{ task: t, next: {{ to: z{at} }} }}\n"
        ));
        text.push_str(&format!("  z{at}: {{ join: race, task: t, {next} }}\n"));
    }
    let graph = good("g.yaml", &text);
    let runners: usize = graph.nodes.iter().map(|node| node.runners.len()).sum();
    assert_eq!(runners, 3 * RACES, "each node runs for one race at most");
}
