use super::*;

fn members(ids: &[&str]) -> Vec<Member> {
    ids.iter().map(|id| Member { id: (*id).to_owned(), name: String::new() }).collect()
}

#[test]
fn shares_add_up_and_differ_by_at_most_one() {
    for count in 1..=7 {
        let ids: Vec<String> = (0..count).map(|n| format!("m{n}")).collect();
        let all = members(&ids.iter().map(String::as_str).collect::<Vec<_>>());
        let shares: Vec<usize> = ids.iter().map(|id| fair_share(64, &all, id)).collect();
        assert_eq!(shares.iter().sum::<usize>(), 64);
        assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1);
    }
}

#[test]
fn a_member_that_is_not_listed_yet_takes_the_smallest_share() {
    assert_eq!(fair_share(64, &members(&[]), "me"), 64);
    assert_eq!(fair_share(3, &members(&["a", "b"]), "me"), 1);
}
