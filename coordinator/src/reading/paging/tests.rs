use super::super::recorded::Recorded;
use super::*;

/// A page as the API reads it, and how far the log was folded for it.
async fn page(recorded: &Recorded, after: u64, limit: usize) -> (Vec<Value>, Option<u64>) {
    let mut page = recorded.reader.page(&recorded.tenant, recorded.id, after);
    let mut found = Vec::new();
    while found.len() < limit {
        let Some(more) = page.next_json().await.unwrap() else { break };
        found.extend(more);
    }
    let folded = page.folded_to();
    page.end().unwrap();
    found.truncate(limit);
    (found, folded)
}

/// Every event by the state right after it.
async fn by_folding(recorded: &Recorded) -> Vec<Value> {
    let mut cursor = recorded.reader.cursor(&recorded.tenant, recorded.id);
    let mut all = Vec::new();
    while let Some(more) = cursor.next_json(0).await.unwrap() {
        all.extend(more);
    }
    all
}

#[tokio::test]
async fn pages_fold_each_event_once_and_show_what_a_fold_shows() {
    let mut recorded = Recorded::fan(1_500).await;
    recorded.grow(3_000).await;
    let expected = by_folding(&recorded).await;
    let (mut all, mut done) = (Vec::new(), 0);
    loop {
        let (found, folded) = page(&recorded, all.len() as u64, 700).await;
        if found.is_empty() {
            break;
        }
        all.extend(found);
        // What was folded for the page before is not folded again, once there is enough to be kept.
        let folded = folded.unwrap_or(done);
        assert!(folded >= done, "{folded} after {done}");
        assert!(folded < all.len() as u64 + 1_600, "an append of the fan has that many events");
        done = folded;
    }
    assert_eq!(all, expected);
    // Any page again, from anywhere: nothing is folded for it.
    for after in [0, 1, 699, 1_501, 2_940] {
        let (found, folded) = page(&recorded, after, 50).await;
        assert_eq!(folded, None, "after {after}");
        assert_eq!(found, expected.iter().skip(after as usize).take(50).cloned().collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_page_behind_what_is_known_folds_only_what_is_new() {
    let mut recorded = Recorded::fan(2_000).await;
    recorded.grow(3_000).await;
    let end = recorded.execution.sequence();
    page(&recorded, end - 10, 1_000).await;
    recorded.grow(3_200).await;
    // Before, across and behind the border of what was known.
    let expected = by_folding(&recorded).await;
    for after in [end - 10, end, end + 100, recorded.execution.sequence()] {
        let (found, _) = page(&recorded, after, 1_000).await;
        assert_eq!(found, expected[after as usize..]);
    }
    let known = recorded.reader.known();
    assert_eq!(known.logs.len(), 1);
    assert_eq!(known.logs[0].1.read_to, recorded.execution.sequence());
}

#[tokio::test]
async fn what_is_short_is_not_kept_and_what_is_not_there_is_said() {
    let recorded = Recorded::fan(10).await;
    page(&recorded, 0, 1_000).await;
    assert!(recorded.reader.known().logs.is_empty());
    let mut elsewhere = recorded.reader.page(&"tenant_b".parse().unwrap(), recorded.id, 0);
    assert_eq!(elsewhere.next_json().await.unwrap(), None);
    assert!(matches!(elsewhere.end(), Err(ReadError::NotFound(_))));
}

#[tokio::test]
async fn another_tenant_does_not_see_what_is_known() {
    let mut recorded = Recorded::fan(1_000).await;
    recorded.grow(1_500).await;
    page(&recorded, 0, 10_000).await;
    assert_eq!(recorded.reader.known().logs.len(), 1);
    let mut elsewhere = recorded.reader.page(&"tenant_b".parse().unwrap(), recorded.id, 0);
    assert_eq!(elsewhere.next_json().await.unwrap(), None);
    assert!(matches!(elsewhere.end(), Err(ReadError::NotFound(_))));
}

#[tokio::test]
async fn only_the_latest_logs_are_known_within_their_bytes() {
    let mut recorded = Recorded::fan(1_000).await;
    recorded.grow(1_500).await;
    page(&recorded, 0, 10_000).await;
    let one = recorded.reader.known().logs[0].1.clone();
    let tenant = |number: usize| format!("tenant_{number}").parse::<TenantId>().unwrap();
    let mut known = KnownLogs::default();
    for number in 0..KNOWN_LOGS + 3 {
        known.keep(tenant(number), (*one).clone());
    }
    assert_eq!((known.logs.len(), &known.logs[0].0), (KNOWN_LOGS, &tenant(3)));
    known.keep(tenant(100), Known { bytes: KNOWN_BYTES - one.bytes, ..(*one).clone() });
    assert_eq!(known.logs.len(), 2);
    known.keep(tenant(101), Known { bytes: KNOWN_BYTES + 1, ..(*one).clone() });
    assert_eq!(known.logs.len(), 2, "one that is too large for all of it puts nobody out");
}
