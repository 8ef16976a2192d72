//! What executions share.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use stepstream_coordinator::ports::{
    AttemptRef, EndOf, Granted, PERMITS_AT_A_TIME, PermitAnswer, PermitCursor, PermitEnd, PermitRequest, Spent,
    StoreError, TenantLimits,
};
use stepstream_shared::cost::Money;
use stepstream_shared::event::{Need, Pace, PermitAsk, Place, Violation};
use stepstream_shared::fairness::Weight;
use stepstream_shared::graph::{OnLimit, Priority};
use stepstream_shared::id::PartitionId;
use stepstream_shared::time::Timestamp;

use super::sample::{PARTITIONS, SharedStore, execution, tenant};

/// The only attempt at the first step of an execution.
fn attempt(number: u64) -> AttemptRef {
    AttemptRef { tenant: tenant("x"), execution: execution(number), step: 0, attempt: 1 }
}

fn place(number: u64, key: &str, max: u32) -> PermitRequest {
    let ask = PermitAsk {
        place: Some(Place { key: key.to_owned(), max }),
        pace: None,
        need: None,
        priority: Priority::Normal,
    };
    PermitRequest {
        attempt: attempt(number),
        partition: PartitionId::of(execution(number), PARTITIONS),
        sequence: 5,
        ask,
    }
}

fn pace(number: u64, key: &str, max: u32, per_us: u64, burst: u32) -> PermitRequest {
    let pace = Some(Pace { key: key.to_owned(), max, per_us, burst });
    let ask = PermitAsk { place: None, pace, need: None, priority: Priority::Normal };
    PermitRequest { ask, ..place(number, "unused", 1) }
}

fn end(number: u64) -> PermitEnd {
    PermitEnd { attempt: attempt(number), why: EndOf::Attempt }
}

/// Who was granted something, by the number of its execution below a hundred.
fn who(granted: &[Granted]) -> Vec<u64> {
    let number = |granted: &Granted| (0..100).find(|number| execution(*number) == granted.attempt.execution);
    granted.iter().map(|granted| number(granted).expect("one of the test")).collect()
}

async fn settle(store: &SharedStore, ends: &[PermitEnd], asks: &[PermitRequest]) -> Vec<u64> {
    who(&store.permits().settle_permits(ends, asks).await.unwrap().granted)
}

pub async fn a_key_has_as_many_places_as_it_says_and_hands_them_on_in_order(store: SharedStore) {
    for (number, given) in [(1, true), (2, true), (3, false), (4, false)] {
        assert_eq!(settle(&store, &[], &[place(number, "k", 2)]).await, if given { vec![number] } else { vec![] });
    }
    assert_eq!(settle(&store, &[end(1)], &[]).await, [3], "who asked first has it");
    assert_eq!(settle(&store, &[end(1)], &[]).await, [0; 0], "what has ended ends once");
    assert_eq!(settle(&store, &[end(2), end(3)], &[place(5, "k", 2)]).await, [4, 5]);
    assert_eq!(settle(&store, &[], &[place(6, "other", 1)]).await, [6], "another key is another matter");
    assert_eq!(settle(&store, &[end(4), end(5)], &[]).await, [0; 0]);
    // The key is idle, and works as before.
    assert_eq!(settle(&store, &[], &[place(7, "k", 1)]).await, [7]);
    assert_eq!(settle(&store, &[], &[place(8, "k", 1)]).await, [0; 0]);
}

pub async fn an_attempt_that_asks_again_has_one_permit_and_is_told_again(store: SharedStore) {
    let permits = store.permits();
    let first = permits.settle_permits(&[], &[place(1, "k", 2)]).await.unwrap().granted;
    let again = permits.settle_permits(&[], &[place(1, "k", 2), place(1, "k", 2)]).await.unwrap().granted;
    assert_eq!((first.len(), again.len()), (1, 1));
    assert!(again[0].grant > first[0].grant);
    assert_eq!(settle(&store, &[], &[place(2, "k", 2)]).await, [2], "it has taken one place");
    assert_eq!(settle(&store, &[], &[place(3, "k", 2)]).await, [0; 0]);
    assert_eq!(settle(&store, &[], &[place(3, "k", 2)]).await, [0; 0], "and one that waits waits once");
    assert_eq!(settle(&store, &[end(1)], &[]).await, [3]);
    assert_eq!(settle(&store, &[end(2), end(3)], &[]).await, [0; 0]);
    let mut next = place(1, "k", 1);
    next.attempt.attempt = 2;
    assert_eq!(permits.settle_permits(&[], &[next]).await.unwrap().granted.len(), 1, "the next attempt is another");
}

pub async fn the_most_urgent_is_served_first_and_then_who_asked_first(store: SharedStore) {
    settle(&store, &[], &[place(1, "k", 1)]).await;
    for (number, priority) in [(2, Priority::Low), (3, Priority::Normal), (4, Priority::High), (5, Priority::Normal)] {
        let mut ask = place(number, "k", 1);
        ask.ask.priority = priority;
        assert_eq!(settle(&store, &[], &[ask]).await, [0; 0]);
    }
    for (gone, next) in [(1, 4), (4, 3), (3, 5), (5, 2)] {
        assert_eq!(settle(&store, &[end(gone)], &[]).await, [next]);
    }
}

pub async fn an_end_means_only_what_it_names(store: SharedStore) {
    let permits = store.permits();
    let of = |number: u64, why: EndOf| PermitEnd { attempt: attempt(number), why };
    let first = permits.settle_permits(&[], &[place(1, "k", 1)]).await.unwrap().granted;
    settle(&store, &[], &[place(2, "k", 1)]).await;
    assert_eq!(settle(&store, &[of(1, EndOf::Wait(7))], &[]).await, [0; 0], "it has its place and waits no more");
    settle(&store, &[], &[place(1, "k", 1)]).await;
    assert_eq!(settle(&store, &[of(1, EndOf::Grant(first[0].grant))], &[]).await, [0; 0], "it was told again since");
    settle(&store, &[], &[place(3, "k", 1)]).await;
    assert_eq!(settle(&store, &[of(2, EndOf::Wait(7))], &[]).await, [0; 0]);
    assert_eq!(settle(&store, &[of(1, EndOf::Grant(first[0].grant + 1))], &[]).await, [3], "the one in front has gone");
    assert_eq!(settle(&store, &[of(99, EndOf::Attempt)], &[]).await, [0; 0], "nobody has heard of it");
}

pub async fn what_is_asked_later_outlives_the_end_of_an_earlier_wait(store: SharedStore) {
    let as_of = |sequence, number| PermitRequest { sequence, ..place(number, "k", 1) };
    let wait = |number, since| PermitEnd { attempt: attempt(number), why: EndOf::Wait(since) };
    settle(&store, &[], &[place(1, "k", 1)]).await;
    for number in [2, 3] {
        settle(&store, &[], &[as_of(5, number)]).await;
    }
    // Whoever drives the second one now has asked again, and what an owner from before says comes afterwards.
    settle(&store, &[], &[as_of(9, 2)]).await;
    settle(&store, &[], &[as_of(4, 2)]).await;
    assert_eq!(settle(&store, &[wait(2, 7), wait(3, 7)], &[]).await, [0; 0]);
    assert_eq!(settle(&store, &[end(1)], &[]).await, [2], "it waits still");
    assert_eq!(settle(&store, &[end(2)], &[]).await, [0; 0], "and the third does not");
}

pub async fn who_asks_and_stops_waiting_in_the_same_breath_waits(store: SharedStore) {
    let permits = store.permits();
    let of = |number: u64, why: EndOf| PermitEnd { attempt: attempt(number), why };
    let first = permits.settle_permits(&[], &[place(1, "k", 1)]).await.unwrap().granted;
    settle(&store, &[], &[place(2, "k", 1)]).await;
    assert_eq!(settle(&store, &[of(2, EndOf::Wait(7))], &[place(2, "k", 1)]).await, [0; 0]);
    let told = settle(&store, &[of(1, EndOf::Grant(first[0].grant))], &[place(1, "k", 1)]).await;
    assert_eq!(told, [1], "it is told again of what it was told in vain");
    assert_eq!(settle(&store, &[end(1)], &[place(1, "k", 1)]).await, [2], "an attempt that is over asks for nothing");
    assert_eq!(settle(&store, &[end(2)], &[]).await, [0; 0]);
}

pub async fn those_who_ask_together_are_served_in_the_order_of_asking(store: SharedStore) {
    let order = [7, 3, 9, 1, 8, 2];
    let asks: Vec<PermitRequest> = order.iter().map(|number| place(*number, "k", 1)).collect();
    let mut served = settle(&store, &[], &asks).await;
    settle(&store, &[], &[place(4, "k", 1), place(0, "k", 1)]).await;
    while let Some(last) = served.last().copied() {
        let next = settle(&store, &[end(last)], &[]).await;
        if next.is_empty() {
            break;
        }
        served.extend(next);
    }
    assert_eq!(served, [7, 3, 9, 1, 8, 2, 4, 0]);
    let asks: Vec<PermitRequest> = order.iter().map(|number| pace(*number, "r", 1, 3_600_000_000, 1)).collect();
    let mut moments = store.permits().settle_permits(&[], &asks).await.unwrap().granted;
    moments.sort_by_key(|granted| granted.from);
    assert_eq!(who(&moments), order, "and so are the moments of a rate");
}

pub async fn a_key_with_more_places_serves_who_waits_when_somebody_asks(store: SharedStore) {
    for number in 1..=3 {
        settle(&store, &[], &[place(number, "k", 1)]).await;
    }
    // A newer version of the graph says five. Whoever waits in front with less goes by what it was told.
    assert_eq!(settle(&store, &[], &[place(4, "k", 5)]).await, [0; 0]);
    assert_eq!(settle(&store, &[end(1)], &[]).await, [2]);
    assert_eq!(settle(&store, &[end(2)], &[]).await, [3, 4]);
}

pub async fn the_moments_of_a_rate_are_handed_out_once_and_in_order(store: SharedStore) {
    let permits = store.permits();
    let ask = |number| pace(number, "r", 1, 3_600_000_000, 2);
    let mut moments = Vec::new();
    for number in 1..=4 {
        let granted = permits.settle_permits(&[], &[ask(number)]).await.unwrap().granted;
        assert_eq!(who(&granted), [number], "there is always a moment");
        moments.push(granted[0].from);
    }
    assert_eq!(moments[..2], [None, None], "a burst of two");
    let (third, fourth) = (moments[2].unwrap(), moments[3].unwrap());
    assert_eq!(fourth.since(third), Duration::from_secs(3600));
    let again = permits.settle_permits(&[], &[ask(3)]).await.unwrap().granted;
    assert_eq!(again[0].from, Some(third), "who asks again has the same moment");
    assert_eq!(settle(&store, &[end(3), end(4)], &[]).await, [0; 0]);
    permits.forget_idle_keys().await.unwrap();
    let fifth = permits.settle_permits(&[], &[ask(5)]).await.unwrap().granted;
    assert_eq!(fifth[0].from.unwrap().since(fourth), Duration::from_secs(3600), "what was handed out stays so");
}

pub async fn a_rate_is_counted_when_the_place_is_there(store: SharedStore) {
    let both = |number| {
        let mut ask = place(number, "k", 1);
        ask.ask.pace = Some(Pace { key: "r".to_owned(), max: 1, per_us: 3_600_000_000, burst: 1 });
        ask
    };
    let permits = store.permits();
    assert_eq!(permits.settle_permits(&[], &[both(1)]).await.unwrap().granted[0].from, None);
    assert_eq!(settle(&store, &[], &[both(2)]).await, [0; 0], "no moment before there is a place");
    let second = permits.settle_permits(&[end(1)], &[]).await.unwrap().granted;
    let from = second[0].from.expect("a moment that has not come");
    let third = permits.settle_permits(&[], &[pace(3, "r", 1, 3_600_000_000, 1)]).await.unwrap().granted;
    assert_eq!(third[0].from.unwrap().since(from), Duration::from_secs(3600));
}

pub async fn keys_of_another_tenant_are_other_keys_and_its_attempts_cannot_be_ended(store: SharedStore) {
    assert_eq!(settle(&store, &[], &[place(1, "k", 1)]).await, [1]);
    let mut other = place(2, "k", 1);
    other.attempt.tenant = tenant("y");
    assert_eq!(settle(&store, &[], &[other]).await, [2]);
    let mut stranger = end(1);
    stranger.attempt.tenant = tenant("y");
    assert_eq!(settle(&store, &[stranger], &[]).await, [0; 0]);
    assert_eq!(settle(&store, &[], &[place(3, "k", 1)]).await, [0; 0], "the place is taken still");
}

pub async fn standing_permits_are_read_page_by_page_for_the_partitions_asked_for(store: SharedStore) {
    let asks: Vec<PermitRequest> = (0..20).map(|number| place(number, "k", 3)).collect();
    assert_eq!(settle(&store, &[], &asks).await.len(), 3);
    let all: Vec<PartitionId> = (0..PARTITIONS).map(PartitionId).collect();
    let mut waiting = Vec::new();
    for (granted, expected) in [(true, 3), (false, 17)] {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = store.permits().standing_permits(&all, granted, Duration::ZERO, after, 2).await.unwrap();
            let Some(last) = page.last() else { break };
            let AttemptRef { execution, step, attempt, .. } = last.attempt;
            after = Some(PermitCursor { execution, step, attempt });
            seen.extend(page);
        }
        assert!(seen.is_sorted_by_key(|row| row.attempt.execution));
        assert!(seen.iter().all(|row| row.answer.is_some() == granted));
        assert_eq!(seen.len(), expected);
        waiting = seen;
    }
    let one = PartitionId::of(execution(5), PARTITIONS);
    let of_one = store.permits().standing_permits(&[one], false, Duration::ZERO, None, 100).await.unwrap();
    let expected = waiting.iter().filter(|row| PartitionId::of(row.attempt.execution, PARTITIONS) == one).count();
    assert_eq!(of_one.len(), expected);
    let young = store.permits().standing_permits(&all, true, Duration::from_secs(3600), None, 100).await.unwrap();
    assert!(young.is_empty());
}

pub async fn many_askers_at_once_never_hold_more_than_there_are_places(store: SharedStore) {
    const ASKERS: u64 = 60;
    const PLACES: u32 = 3;
    let held = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let told: Arc<std::sync::Mutex<BTreeSet<u64>>> = Arc::default();
    let askers = (0..ASKERS).map(|number| {
        let (store, held, most, told) = (store.clone(), held.clone(), most.clone(), told.clone());
        tokio::spawn(async move {
            let tell = |numbers: Vec<u64>| told.lock().unwrap().extend(numbers);
            let asks = [place(number, "k", PLACES)];
            tell(settle(&store, &[], &asks).await);
            let give_up = Instant::now() + Duration::from_secs(30);
            while !told.lock().unwrap().contains(&number) {
                assert!(Instant::now() < give_up, "{number} has not had its turn");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let now = held.fetch_add(1, Ordering::SeqCst) + 1;
            most.fetch_max(now, Ordering::SeqCst);
            tokio::task::yield_now().await;
            held.fetch_sub(1, Ordering::SeqCst);
            tell(settle(&store, &[end(number)], &[]).await);
        })
    });
    for asker in join_all(askers).await {
        asker.unwrap();
    }
    assert_eq!(told.lock().unwrap().len() as u64, ASKERS, "everybody had its turn");
    let most = most.load(Ordering::SeqCst);
    assert!(most <= PLACES as usize, "{most} at once");
}

pub async fn many_askers_at_once_get_moments_that_are_spaced(store: SharedStore) {
    const INTERVAL: Duration = Duration::from_secs(60);
    let askers = (0..40).map(|number| {
        let store = store.clone();
        tokio::spawn(async move {
            // Each asks twice, as after a takeover.
            let ask = pace(number, "r", 1, 60_000_000, 1);
            let first = store.permits().settle_permits(&[], std::slice::from_ref(&ask)).await.unwrap().granted[0].from;
            let second = store.permits().settle_permits(&[], &[ask]).await.unwrap().granted[0].from;
            assert!(second == first || second.is_none(), "{first:?} {second:?}");
            first
        })
    });
    let mut moments: Vec<Timestamp> = Vec::new();
    let mut at_once = 0;
    for asker in join_all(askers).await {
        match asker.unwrap() {
            Some(moment) => moments.push(moment),
            None => at_once += 1,
        }
    }
    moments.sort_unstable();
    assert_eq!(at_once, 1, "one may begin now");
    assert!(moments.windows(2).all(|pair| pair[1].since(pair[0]) == INTERVAL), "{moments:?}");
}

pub async fn too_many_permits_at_a_time_are_refused(store: SharedStore) {
    let asks: Vec<PermitRequest> = (0..=PERMITS_AT_A_TIME as u64).map(|number| place(number, "k", 1)).collect();
    let refused = store.permits().settle_permits(&[], &asks).await;
    assert!(matches!(refused, Err(StoreError::Refused { .. })), "{refused:?}");
}

/// An attempt that may need so many micro-dollars.
fn need(number: u64, micros: u64) -> PermitRequest {
    let need = Some(Need { cost: Money::from_micros(micros), tokens: 0 });
    let ask = PermitAsk { place: None, pace: None, need, priority: Priority::Normal };
    PermitRequest { ask, ..place(number, "unused", 1) }
}

/// All that an execution has used, as of an event.
fn spent(number: u64, sequence: u64, micros: u64) -> Spent {
    let (tenant, execution) = (tenant("x"), execution(number));
    Spent { tenant, execution, sequence, cost: Money::from_micros(micros), tokens: 3 }
}

/// So many micro-dollars in a day.
async fn a_day_has(store: &SharedStore, micros: u64) {
    let cost_usd_per_day = Some(Money::from_micros(micros));
    let limits = TenantLimits { cost_usd_per_day, on_limit: OnLimit::Pause, ..TenantLimits::default() };
    store.permits().set_tenant_limits(&tenant("x"), &limits).await.unwrap();
}

async fn account(store: &SharedStore) -> (u64, u64) {
    let account = store.permits().tenant_account(&tenant("x")).await.unwrap();
    (account.cost.micros(), account.reserved_cost.micros())
}

pub async fn what_is_set_aside_and_what_is_spent_stay_inside_the_days_budget(store: SharedStore) {
    a_day_has(&store, 100).await;
    assert_eq!(settle(&store, &[], &[need(1, 40), need(2, 40)]).await.len(), 2);
    assert_eq!(settle(&store, &[], &[need(3, 40)]).await, [0; 0], "what is set aside is in the way");
    assert_eq!(settle(&store, &[], &[need(4, 10)]).await, [0; 0], "and nobody overtakes who waits");
    assert_eq!(account(&store).await, (0, 80));
    store.permits().record_spent(&[spent(1, 5, 15)]).await.unwrap();
    assert_eq!(settle(&store, &[end(1)], &[]).await, [3], "15 are spent, 80 set aside, and 5 are left");
    assert_eq!(account(&store).await, (15, 80));
    assert_eq!(settle(&store, &[end(2)], &[]).await, [4]);
    assert_eq!(settle(&store, &[end(3), end(4)], &[]).await, [0; 0]);
    assert_eq!(account(&store).await, (15, 0));
}

pub async fn an_attempt_that_the_days_budget_has_no_room_for_is_denied(store: SharedStore) {
    a_day_has(&store, 100).await;
    store.permits().record_spent(&[spent(9, 1, 70)]).await.unwrap();
    let settled = store.permits().settle_permits(&[], &[need(1, 40), need(2, 20)]).await.unwrap();
    assert_eq!(who(&settled.granted), [2]);
    let [denied] = settled.denied.as_slice() else { panic!("{settled:?}") };
    assert_eq!((denied.limit, denied.current, denied.max), (Violation::CostLimit, 110, 100));
    assert_eq!((denied.on_limit, denied.attempt.execution), (OnLimit::Pause, execution(1)));
    let again = store.permits().settle_permits(&[], &[need(1, 40)]).await.unwrap();
    assert_eq!(again.denied, settled.denied, "who asks again is told again");
    a_day_has(&store, 1000).await;
    assert_eq!(settle(&store, &[], &[need(1, 40)]).await, [1], "it asks again when there is more");
    assert_eq!(account(&store).await, (70, 60));
}

pub async fn a_denial_stands_until_its_wait_is_over_and_is_in_nobodys_way(store: SharedStore) {
    a_day_has(&store, 100).await;
    let both = |number, micros| PermitRequest {
        ask: PermitAsk { need: need(number, micros).ask.need, ..place(number, "k", 1).ask },
        ..place(number, "k", 1)
    };
    let denied = store.permits().settle_permits(&[], &[both(1, 140), need(2, 140)]).await.unwrap();
    assert_eq!(denied.denied.len(), 2);
    let settled = store.permits().settle_permits(&[], &[both(3, 40)]).await.unwrap();
    assert_eq!((who(&settled.granted), settled.denied), (vec![3], vec![]), "it is said once");
    let all: Vec<PartitionId> = (0..PARTITIONS).map(PartitionId).collect();
    let standing = async |answered| {
        let rows = store.permits().standing_permits(&all, answered, Duration::ZERO, None, 10).await.unwrap();
        let mut rows: Vec<_> = rows.into_iter().map(|row| (row.attempt, row.answer)).collect();
        rows.sort();
        rows
    };
    let mut expected = vec![
        (attempt(1), Some(PermitAnswer::Denied)),
        (attempt(2), Some(PermitAnswer::Denied)),
        (attempt(3), Some(PermitAnswer::Granted(1))),
    ];
    expected.sort();
    assert_eq!(standing(true).await, expected);
    assert_eq!(standing(false).await, []);
    let paused = PermitEnd { attempt: attempt(1), why: EndOf::Wait(7) };
    settle(&store, &[paused, end(2)], &[]).await;
    assert_eq!(standing(true).await, [(attempt(3), Some(PermitAnswer::Granted(1)))]);
    assert_eq!(account(&store).await, (0, 40), "nothing was set aside for them");
}

pub async fn what_executions_have_used_is_counted_once(store: SharedStore) {
    let permits = store.permits();
    permits.record_spent(&[spent(1, 5, 10), spent(2, 5, 1)]).await.unwrap();
    permits.record_spent(&[spent(1, 5, 10)]).await.unwrap();
    permits.record_spent(&[spent(1, 9, 30), spent(1, 7, 20)]).await.unwrap();
    permits.record_spent(&[spent(1, 7, 20)]).await.unwrap();
    assert_eq!(account(&store).await, (31, 0));
    let other = permits.tenant_account(&tenant("y")).await.unwrap();
    assert_eq!((other.cost, other.tokens), (Money::ZERO, 0));
    assert!(other.day > 20_000, "days since 1970");
}

pub async fn a_budget_of_the_day_and_places_are_had_together_or_not_at_all(store: SharedStore) {
    a_day_has(&store, 100).await;
    let both = |number, micros| PermitRequest {
        ask: PermitAsk { need: need(number, micros).ask.need, ..place(number, "k", 1).ask },
        ..place(number, "k", 1)
    };
    assert_eq!(settle(&store, &[], &[need(1, 90)]).await, [1]);
    assert_eq!(settle(&store, &[], &[both(2, 50)]).await, [0; 0], "there is a place, and no room");
    assert_eq!(settle(&store, &[end(1)], &[]).await, [2], "what is given back brings both");
    assert_eq!(settle(&store, &[], &[both(3, 10)]).await, [0; 0], "there is room, and no place");
    assert_eq!(account(&store).await, (0, 50));
    assert_eq!(settle(&store, &[end(2)], &[]).await, [3]);
}

pub async fn many_askers_at_once_stay_inside_the_days_budget(store: SharedStore) {
    a_day_has(&store, 1000).await;
    let told: Arc<std::sync::Mutex<BTreeSet<u64>>> = Arc::default();
    let refused = Arc::new(AtomicUsize::new(0));
    let taken = Arc::new(AtomicUsize::new(0));
    let askers = (0..60_u64).map(|number| {
        let (store, told, refused, taken) = (store.clone(), told.clone(), refused.clone(), taken.clone());
        tokio::spawn(async move {
            let tell = |settled: stepstream_coordinator::ports::Settled| {
                refused.fetch_add(settled.denied.len(), Ordering::SeqCst);
                let denied = settled.denied.into_iter().map(|denied| denied.attempt.execution);
                let granted = settled.granted.into_iter().map(|granted| granted.attempt.execution);
                let number = |id| (0..100).find(|number| execution(*number) == id).unwrap();
                told.lock().unwrap().extend(granted.chain(denied).map(number));
            };
            tell(store.permits().settle_permits(&[], &[need(number, 50)]).await.unwrap());
            let give_up = Instant::now() + Duration::from_secs(30);
            while !told.lock().unwrap().contains(&number) {
                assert!(Instant::now() < give_up, "{number} has not had its turn");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let now = taken.fetch_add(50, Ordering::SeqCst) + 50;
            assert!(now <= 1000, "{now} set aside or spent");
            // Each uses a fifth of what it might have.
            taken.fetch_sub(40, Ordering::SeqCst);
            store.permits().record_spent(&[spent(number, 1, 10)]).await.unwrap();
            tell(store.permits().settle_permits(&[end(number)], &[]).await.unwrap());
        })
    });
    for asker in join_all(askers).await {
        asker.unwrap();
    }
    assert_eq!(refused.load(Ordering::SeqCst), 0, "there was room for all of them, one after the other");
    assert_eq!(account(&store).await, (600, 0));
}

pub async fn limits_of_a_tenant_are_kept_and_are_its_own(store: SharedStore) {
    let permits = store.permits();
    assert_eq!(permits.tenant_limits(&tenant("x")).await.unwrap(), TenantLimits::default());
    let limits = TenantLimits {
        max_concurrent_executions: Some(7),
        tokens_per_day: Some(1 << 40),
        warn_at: 55,
        weight: Weight::new(3).unwrap(),
        ..TenantLimits::default()
    };
    permits.record_spent(&[spent(1, 1, 5)]).await.unwrap();
    permits.set_tenant_limits(&tenant("x"), &limits).await.unwrap();
    assert_eq!(permits.tenant_limits(&tenant("x")).await.unwrap(), limits);
    assert_eq!(permits.tenant_limits(&tenant("y")).await.unwrap(), TenantLimits::default());
    assert_eq!(account(&store).await.0, 5, "what was used stays");

    // Limits without a weight have one.
    let unweighted = TenantLimits { tokens_per_day: Some(1), ..TenantLimits::default() };
    permits.set_tenant_limits(&tenant("y"), &unweighted).await.unwrap();
    let mut weights = permits.tenant_weights(&[tenant("y"), tenant("x"), tenant("unknown")]).await.unwrap();
    weights.sort();
    assert_eq!(weights, [(tenant("x"), Weight::new(3).unwrap()), (tenant("y"), Weight::ONE)]);
    assert_eq!(permits.tenant_weights(&[]).await.unwrap(), []);
}

pub async fn who_brings_the_days_budget_near_its_end_is_told_once_and_whenever_it_is_counted_again(store: SharedStore) {
    a_day_has(&store, 100).await;
    let permits = store.permits();
    let told = async |spent: &[Spent]| permits.record_spent(spent).await.unwrap();
    assert_eq!(told(&[spent(1, 1, 79)]).await, [], "80 percent are told of");
    let crossed = told(&[spent(2, 1, 1), spent(3, 1, 1)]).await;
    let [one] = crossed.as_slice() else { panic!("{crossed:?}") };
    assert!([execution(2), execution(3)].contains(&one.execution), "one of them did, and not the first");
    assert_eq!((one.limit, one.current, one.max, one.tenant.clone()), (Violation::CostLimit, 80, 100, tenant("x")));
    assert_eq!(one.day, permits.tenant_account(&tenant("x")).await.unwrap().day);
    assert_eq!(told(&[spent(1, 2, 85)]).await, [], "it was told of");
    let same = if one.execution == execution(2) { 2 } else { 3 };
    let again = told(&[spent(same, 1, 1)]).await;
    assert_eq!(again.len(), 1, "whoever was to bring it may have died: {again:?}");
    assert_eq!((again[0].execution, again[0].current), (one.execution, 87));

    // More money in the day: there is another moment of which to tell.
    a_day_has(&store, 1000).await;
    assert_eq!(told(&[spent(same, 1, 1)]).await, [], "far from it now");
    assert_eq!(told(&[spent(4, 1, 800)]).await[0].execution, execution(4));
    let limits = TenantLimits { tokens_per_day: Some(20), warn_at: 50, ..TenantLimits::default() };
    permits.set_tenant_limits(&tenant("x"), &limits).await.unwrap();
    assert_eq!(told(&[spent(5, 1, 1)]).await, [], "tokens had come so far before they had a limit");
    let limits = TenantLimits { tokens_per_day: Some(40), warn_at: 50, ..TenantLimits::default() };
    permits.set_tenant_limits(&tenant("x"), &limits).await.unwrap();
    let crossed = [told(&[spent(6, 1, 1)]).await, told(&[spent(7, 1, 1)]).await].concat();
    let [one] = crossed.as_slice() else { panic!("{crossed:?}") };
    assert_eq!((one.execution, one.limit, one.current, one.max), (execution(7), Violation::TokenLimit, 21, 40));
}
