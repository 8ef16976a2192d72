//! The process that evaluates filters: nothing but standard input and output, little memory, and an end.

use std::io::{stdin, stdout};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, setrlimit};

use super::filter::Filters;
use super::{Answer, Input, MAX_TIMEOUT, frame};

/// Address space of a sandbox, in bytes. Text, stack and allocator arenas count too.
pub const MEMORY_BYTES: u64 = 1024 * 1024 * 1024;
/// The evaluator recurses with the filter; deeper recursion ends the sandbox.
const STACK_BYTES: usize = 128 * 1024 * 1024;
/// The argument that makes a program a sandbox.
pub(crate) const ARGUMENT: &str = "__stepstream-jq-sandbox";
/// How often a sandbox looks whether its filter runs longer than any may.
const WATCH: Duration = Duration::from_secs(1);
/// Beyond the longest time of a filter: by then its host is gone, or it would have ended this process.
const ORPHANED: Duration = Duration::from_secs(5);

/// The program to start as a sandbox, once its `main` has said that it can be one.
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

pub(crate) fn program() -> Option<&'static PathBuf> {
    PROGRAM.get()
}

pub(crate) fn serve_if_asked() {
    let mut arguments = std::env::args_os();
    if arguments.nth(1).is_some_and(|argument| argument == ARGUMENT) {
        std::process::exit(if serve() { 0 } else { 1 });
    }
    // On Linux this path stays right when the program's file is replaced by an upgrade.
    let program = if cfg!(target_os = "linux") { Ok(PathBuf::from("/proc/self/exe")) } else { std::env::current_exe() };
    if let Ok(program) = program {
        let _ = PROGRAM.set(program);
    }
}

/// Serves until the host closes the pipe. Answers whether it went well.
fn serve() -> bool {
    let limits = [(Resource::RLIMIT_AS, MEMORY_BYTES), (Resource::RLIMIT_CORE, 0)];
    if limits.into_iter().any(|(resource, limit)| setrlimit(resource, limit, limit).is_err()) {
        return false;
    }
    // A filter's panic is answered; its text on the worker's standard error would be noise.
    std::panic::set_hook(Box::new(|_| {}));
    let began = Instant::now();
    // Milliseconds since `began` by which the filter of now must have ended; 0 between filters.
    let deadline = Arc::new(AtomicU64::new(0));
    let watched = Arc::clone(&deadline);
    let watch = std::thread::Builder::new().stack_size(64 * 1024).spawn(move || {
        loop {
            std::thread::sleep(WATCH);
            let by = watched.load(Ordering::Relaxed);
            if by != 0 && began.elapsed().as_millis() > u128::from(by) {
                std::process::exit(1);
            }
        }
    });
    let evaluate = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || -> std::io::Result<()> {
        let (mut requests, mut answers) = (stdin().lock(), stdout().lock());
        let mut filters = Filters::default();
        while let Some(input) = frame::read::<Input>(&mut requests)? {
            let by = began.elapsed() + MAX_TIMEOUT + ORPHANED;
            deadline.store(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
            let answer = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| filters.evaluate(input)))
                .unwrap_or_else(|_| {
                    filters = Filters::default();
                    Answer::Failed("the evaluator panicked".to_owned())
                });
            frame::write(&mut answers, &answer)?;
            deadline.store(0, Ordering::Relaxed);
        }
        Ok(())
    });
    watch.is_ok() && evaluate.is_ok_and(|thread| thread.join().is_ok_and(|ended| ended.is_ok()))
}
