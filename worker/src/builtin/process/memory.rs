//! What the members of a process group have in memory together.
//!
//! Looked at from time to time, so that a program can be above its bound for a moment. What members share is counted for
//! each of them: the bound is one of trust in a graph, not of the kernel's accounts; a container's limit is.

use std::time::Duration;

use nix::unistd::{Pid, SysconfVar, sysconf};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// Ends when the members have more than `limit` bytes together, with what they have. Never ends without a limit, and where
/// there is no `/proc` to look at.
pub(super) async fn exceeded(leader: Option<Pid>, limit: Option<u64>) -> u64 {
    let (Some(leader), Some(limit)) = (leader, limit) else { return std::future::pending().await };
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        // Files of the kernel's: read at once.
        match resident(leader) {
            Some(bytes) if bytes > limit => return bytes,
            Some(_) => {}
            None => {
                tracing::warn!("limits.max_memory_mb cannot be kept on this machine: there is no /proc to look at");
                return std::future::pending().await;
            }
        }
    }
}

/// Bytes, or `None` where nothing can be said.
fn resident(leader: Pid) -> Option<u64> {
    let page = u64::try_from(sysconf(SysconfVar::PAGE_SIZE).ok()??).ok()?;
    let mut bytes = 0u64;
    for entry in std::fs::read_dir("/proc").ok()?.flatten() {
        if !entry.file_name().as_encoded_bytes().first().is_some_and(u8::is_ascii_digit) {
            continue;
        }
        // Who has ended meanwhile has nothing.
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        if let Some((group, pages)) = group_and_pages(&stat)
            && group == leader.as_raw()
        {
            bytes = bytes.saturating_add(pages.saturating_mul(page));
        }
    }
    Some(bytes)
}

/// The fields `pgrp` and `rss` of proc_pid_stat(5). The second field, the program's name, may hold anything in its
/// parentheses.
fn group_and_pages(stat: &str) -> Option<(i32, u64)> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let group = fields.nth(2)?.parse().ok()?;
    let pages = fields.nth(18)?.parse().ok()?;
    Some((group, pages))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_parentheses_confuses_nobody() {
        let rest: Vec<String> =
            (3..=52).map(|field| if field == 3 { "S".to_owned() } else { field.to_string() }).collect();
        let stat = format!("17 (a) b (c) {}", rest.join(" "));
        assert_eq!(group_and_pages(&stat), Some((5, 24)));
        assert_eq!(group_and_pages("17 (cut"), None);
    }

    #[test]
    fn this_process_has_something_in_memory() {
        let here = nix::unistd::getpgrp();
        assert!(resident(here).unwrap() > 0);
    }
}
