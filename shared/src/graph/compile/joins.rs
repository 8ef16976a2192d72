//! Refuses joins that can never be met.

use std::collections::HashMap;

use super::loops::Shape;
use super::{Wire, quorum};
use crate::graph::compiled::Routing;
use crate::graph::diagnose::Reporter;
use crate::graph::document::Document;

/// What one predecessor can take at the same time: edges for a step that completed, or edges for one that failed.
#[derive(Default)]
struct Offer {
    completed: u32,
    failed: u32,
}

pub(crate) fn check(document: &Document<'_>, wires: &[Wire], shape: &Shape, reporter: &mut Reporter<'_>) {
    let mut offers: HashMap<u32, HashMap<u32, Offer>> = HashMap::new();
    for (wire, at) in wires.iter().zip(0..) {
        if shape.back(at).is_none() && quorum(document.nodes[wire.to.0 as usize].join).is_some() {
            let offer = offers.entry(wire.to.0).or_default().entry(wire.from.0).or_default();
            match wire.edge(document).catch {
                Some(_) => offer.failed += 1,
                None => offer.completed += 1,
            }
        }
    }
    for (node, at) in document.nodes.iter().zip(0_u32..) {
        let Some(needed) = quorum(node.join) else { continue };
        let name = node.name;
        if needed == 0 {
            let message = format!("`{name}` waits for a quorum of 0 edges, so nothing makes it run");
            reporter.report_with(node.join_place, "impossible-join", message, "a quorum is at least 1");
            continue;
        }
        let none = HashMap::new();
        let offered = offers.get(&at).unwrap_or(&none);
        let edges: u32 = offered.values().map(|offer| offer.completed + offer.failed).sum();
        let most: u32 = offered
            .iter()
            .map(|(from, offer)| {
                let first = document.nodes[*from as usize].routing == Routing::First;
                let most = offer.completed.max(offer.failed);
                if first { most.min(1) } else { most }
            })
            .sum();
        if needed > most {
            let message = if edges > most {
                format!(
                    "`{name}` waits for {needed} edges; of the {edges} that lead to it at most {most} can be taken at once"
                )
            } else {
                format!(
                    "`{name}` waits for {needed} edges, and {edges} lead{} to it",
                    if edges == 1 { "s" } else { "" }
                )
            };
            let hint = match most {
                0 => "it is a start node: remove `join`".to_owned(),
                most => format!("lower the quorum to {most}, or lead more edges to it"),
            };
            reporter.report_with(node.join_place, "impossible-join", message, hint);
        }
    }
}
