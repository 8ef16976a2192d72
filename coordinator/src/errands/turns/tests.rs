use super::*;

fn tenant(name: &str) -> TenantId {
    format!("tenant_{name}").parse().unwrap()
}

fn turns() -> Turns<u32> {
    Turns::new(Limits { running: 8, running_each: 2, waiting: 12, waiting_each: 10 })
}

#[test]
fn one_tenant_leaves_slots_to_the_others() {
    let (mut turns, a, b) = (turns(), tenant("a"), tenant("b"));
    for number in 0..10 {
        assert!(turns.offer(&a, number));
    }
    assert!(!turns.offer(&a, 10), "so many of one wait and no more");
    assert_eq!((turns.next(), turns.next(), turns.next()), (Some((a.clone(), 0)), Some((a.clone(), 1)), None));
    assert!(turns.offer(&b, 100));
    assert_eq!((turns.next(), turns.next()), (Some((b.clone(), 100)), None));
    turns.done(&a);
    assert_eq!((turns.next(), turns.next()), (Some((a.clone(), 2)), None));
}

#[test]
fn tenants_take_turns_for_the_slots_there_are() {
    let mut turns = Turns::new(Limits { running: 2, running_each: 2, waiting: 100, waiting_each: 10 });
    let (a, b) = (tenant("a"), tenant("b"));
    for number in 0..3 {
        turns.offer(&a, number);
    }
    turns.offer(&b, 100);
    let (first, second) = (turns.next().unwrap(), turns.next().unwrap());
    assert_eq!((first, second), ((a.clone(), 0), (b.clone(), 100)));
    assert_eq!(turns.next(), None);
    turns.done(&b);
    assert_eq!(turns.next(), Some((a, 1)));
}

#[test]
fn a_full_room_has_room_for_who_has_less_in_it() {
    let (mut turns, a, b) = (turns(), tenant("a"), tenant("b"));
    for number in 0..10 {
        turns.offer(&a, number);
    }
    for number in 100..106 {
        assert!(turns.offer(&b, number), "{number}");
    }
    assert!(!turns.offer(&b, 106), "both have as much");
    let mut run = Vec::new();
    while let Some((tenant, number)) = turns.next() {
        turns.done(&tenant);
        run.push(number);
    }
    assert_eq!(run.len(), 12);
    assert!((0..6).chain(100..106).all(|number| run.contains(&number)), "those that came last gave way: {run:?}");
    assert!(turns.tenants.is_empty() && turns.order.is_empty() && turns.waiting == 0 && turns.running == 0);
}
