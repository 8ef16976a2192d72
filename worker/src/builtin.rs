//! The stock callables: what a graph can do before anybody has written a line of code.

pub mod echo;
pub mod fail;
pub mod http;
pub mod jq;
pub mod note;
pub mod process;
pub mod sleep;

use std::path::PathBuf;

use stepstream_runtime::reach::Reach;

use crate::registry::Registry;

/// What the stock callables may do.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether graphs may run programs on this machine, with the rights of this worker.
    pub allow_process: bool,
    /// What the callable `http` may reach; anything, unless said otherwise.
    pub http: Reach,
    /// The program that evaluates jq filters in a process of its own: one whose `main` begins with [`init`]. This
    /// program itself, unless said otherwise.
    pub jq_program: Option<PathBuf>,
}

/// The first line of `main` in a program that registers the stock callables, before threads and arguments: where this
/// process was started to evaluate jq filters, it does so and never returns.
pub fn init() {
    jq::sandbox::serve_if_asked();
}

/// Registers every stock callable. Those that are not allowed are there too, and say so.
pub fn register_all(registry: &mut Registry, options: Options) {
    registry.register_callable("echo", echo::Echo);
    registry.register_callable("note", note::Recording);
    registry.register_callable("sleep", sleep::Sleep);
    registry.register_callable("fail", fail::Fail);
    registry.register_callable("http", http::Http::new(options.http));
    registry.register_callable("jq", jq::Jq::new(options.jq_program));
    registry.register_callable("process", process::Process { allowed: options.allow_process });
}

#[cfg(test)]
mod tests;
