use std::collections::HashSet;

use super::*;

#[test]
fn claims_salts_and_ids_do_not_repeat() {
    let now = Timestamp::from_micros(1_800_000_000_000_000);
    let claims: HashSet<_> = (0..1000).map(|_| claim_id()).collect();
    let salts: HashSet<_> = (0..1000).map(|_| salt()).collect();
    let ids: HashSet<_> = (0..1000).map(|_| execution_id(now)).collect();
    assert_eq!((claims.len(), salts.len(), ids.len()), (1000, 1000, 1000));
}

#[test]
fn chance_stays_below_one_and_spreads() {
    let drawn: Vec<f64> = (0..1000).map(|_| chance()).collect();
    assert!(drawn.iter().all(|chance| (0.0..1.0).contains(chance)));
    let mean = drawn.iter().sum::<f64>() / 1000.0;
    assert!((0.4..0.6).contains(&mean), "{mean}");
}
