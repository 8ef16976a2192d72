//! Compiles the expressions of a document, each with the names that mean something at its place.

use std::collections::HashMap;
use std::sync::Arc;

use super::Wire;
use super::loops::Shape;
use crate::graph::compiled::NodeIx;
use crate::graph::diagnose::{Place, Reporter};
use crate::graph::document::tree::{Shape as TreeShape, Tree};
use crate::graph::document::{self, Document};
use crate::graph::expression::{Expression, Names, Problem, Template};

/// Most bytes of expressions in a document: a parser of a real grammar does about a megabyte a second.
const MAX_BYTES: usize = 512 * 1024;

pub(crate) struct Expressions<'a, 'r> {
    steps: &'a HashMap<String, NodeIx>,
    /// Nodes that an error edge leads to.
    caught: Vec<bool>,
    looped: Vec<bool>,
    reporter: &'a mut Reporter<'r>,
    bytes: usize,
}

impl<'a, 'r> Expressions<'a, 'r> {
    pub(crate) fn new(
        document: &Document<'_>,
        steps: &'a HashMap<String, NodeIx>,
        wires: &[Wire],
        shape: &Shape,
        reporter: &'a mut Reporter<'r>,
        bytes: usize,
    ) -> Self {
        let mut caught = vec![false; document.nodes.len()];
        for wire in wires {
            if wire.edge(document).catch.is_some() {
                caught[wire.to.0 as usize] = true;
            }
        }
        let looped = (0..document.nodes.len()).map(|node| shape.in_loop(node).is_some()).collect();
        Expressions { steps, caught, looped, reporter, bytes }
    }

    /// Of all expressions so far, those of documents before this one included.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.reporter.is_clean()
    }

    /// What every expression of a node sees; of the graph, when there is none.
    fn names(&self, node: Option<usize>) -> Names<'a> {
        Names {
            steps: self.steps,
            output: false,
            error: node.is_some_and(|node| self.caught[node]),
            item: false,
            iteration: node.is_some_and(|node| self.looped[node]),
            schedule: false,
        }
    }

    pub(crate) fn template(&mut self, tree: &Tree, node: Option<usize>) -> Option<Template> {
        let names = self.names(node);
        self.compile_template(tree, &names)
    }

    /// The `with` of a map.
    pub(crate) fn item_template(&mut self, tree: &Tree, node: usize) -> Option<Template> {
        let names = Names { item: true, ..self.names(Some(node)) };
        self.compile_template(tree, &names)
    }

    /// A JSON Schema in a node.
    pub(crate) fn schema(&mut self, tree: &Tree, field: &str) -> Option<Arc<jsonschema::Validator>> {
        super::schema::compile(tree, field, self.reporter)
    }

    /// The `with` of an undo: `output` is what the step gave that is undone.
    pub(crate) fn undo_template(&mut self, tree: &Tree, node: usize, map: bool) -> Option<Template> {
        let names = Names { output: true, error: false, item: map, ..self.names(Some(node)) };
        self.compile_template(tree, &names)
    }

    /// The `message` of a `fail`.
    pub(crate) fn message(&mut self, tree: &Tree, node: usize) -> Option<Template> {
        if !matches!(tree.shape, TreeShape::Text(_)) {
            self.reporter.report(tree.place, "wrong-type", format!("`message` is text, not {}", tree.kind()));
            return None;
        }
        self.template(tree, Some(node))
    }

    /// A template without expressions.
    pub(crate) fn fixed(&self, text: &str) -> Template {
        Template::fixed(text)
    }

    /// The `over` of a map: an expression, or a list as it is.
    pub(crate) fn list(&mut self, tree: &Tree, node: usize) -> Option<Expression> {
        let names = self.names(Some(node));
        let expression = match &tree.shape {
            TreeShape::List(_) => return self.compile_template(tree, &names).map(Template::into_expression),
            TreeShape::Text(text) => {
                self.source(tree, text, "over").and_then(|source| self.expression(tree, &source, &names))
            }
            _ => {
                let message = format!("`over` is an expression that gives a list, not {}", tree.kind());
                self.reporter.report_with(tree.place, "wrong-type", message, "for example `over: \"=inputs.items\"`");
                None
            }
        }?;
        match expression.known_type() {
            Some(known) if known != "list" => {
                let message = format!("`over` needs a list, this gives a {known}");
                self.reporter.report(tree.place, "type-mismatch", message);
                None
            }
            _ => Some(expression),
        }
    }

    /// The `when` of an edge that leaves `node`.
    pub(crate) fn condition(&mut self, tree: &Tree, node: usize) -> Option<Expression> {
        let names = Names { output: true, ..self.names(Some(node)) };
        let source = match &tree.shape {
            TreeShape::Text(text) => self.source(tree, text, "when")?,
            TreeShape::Bool(bool) => bool.to_string(),
            _ => {
                let message = format!("`when` is an expression that gives a boolean, not {}", tree.kind());
                self.reporter.report_with(tree.place, "type-mismatch", message, "for example `when: \"=output.ok\"`");
                return None;
            }
        };
        let expression = self.expression(tree, &source, &names)?;
        match expression.known_type() {
            Some(known) if known != "bool" => {
                let message = format!("`when` needs a boolean, this gives a {known}");
                self.reporter.report_with(tree.place, "type-mismatch", message, "compare it with something");
                None
            }
            _ => Some(expression),
        }
    }

    fn source(&mut self, tree: &Tree, text: &str, what: &str) -> Option<String> {
        match text.strip_prefix('=') {
            Some(source) if !source.starts_with('=') => Some(source.to_owned()),
            _ => {
                let message = format!("`{what}` is an expression, and expressions start with `=`");
                let hint = format!("write `{what}: \"={}\"`", document::short(text.trim_start_matches('=').trim()));
                self.reporter.report_with(tree.place, "bad-expression", message, hint);
                None
            }
        }
    }

    fn expression(&mut self, tree: &Tree, source: &str, names: &Names<'_>) -> Option<Expression> {
        self.afford(tree.place, source.len())?;
        match Expression::compile(source, names) {
            Ok(expression) => Some(expression),
            Err(problem) => {
                self.refuse(tree, problem);
                None
            }
        }
    }

    fn compile_template(&mut self, tree: &Tree, names: &Names<'_>) -> Option<Template> {
        self.afford(tree.place, expression_bytes(tree))?;
        match Template::compile(&tree.to_json(), names) {
            Ok(template) => Some(template),
            Err(problems) => {
                for misplaced in problems {
                    self.refuse(tree.follow(&misplaced.way), misplaced.problem);
                }
                None
            }
        }
    }

    fn afford(&mut self, place: Place, bytes: usize) -> Option<()> {
        // Whoever has this many problems waits for no more of them.
        if self.reporter.is_full() {
            return None;
        }
        let before = self.bytes;
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes <= MAX_BYTES {
            return Some(());
        }
        if before <= MAX_BYTES {
            let message = format!("the document has more than {MAX_BYTES} bytes of expressions (expression limit)");
            self.reporter.report_with(
                place,
                "document-limit",
                message,
                "a `map` evaluates one expression for many items",
            );
        }
        None
    }

    fn refuse(&mut self, tree: &Tree, problem: Problem) {
        let place = match &tree.shape {
            // The `=` comes before the expression.
            TreeShape::Text(text) => self.reporter.within(tree.place, text, problem.at + 1),
            _ => tree.place,
        };
        match problem.hint {
            Some(hint) => self.reporter.report_with(place, "bad-expression", problem.reason, hint),
            None => self.reporter.report(place, "bad-expression", problem.reason),
        }
    }
}

fn expression_bytes(tree: &Tree) -> usize {
    match &tree.shape {
        TreeShape::Text(text) if text.starts_with('=') => text.len(),
        TreeShape::List(items) => items.iter().map(expression_bytes).sum(),
        TreeShape::Map(entries) => entries.iter().map(|(_, value)| expression_bytes(value)).sum(),
        _ => 0,
    }
}
