//! Places that are shared by those who always have more to do, and by those who come and go.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn weight(weight: u32) -> Weight {
    Weight::new(weight).unwrap()
}

/// Some places, in virtual time.
struct House {
    share: FairShare<u8>,
    places: usize,
    now: Duration,
    /// Who holds a place, until when.
    held: Vec<(Duration, u8)>,
    /// Time of places that each has had.
    had: BTreeMap<u8, Duration>,
    begun: Vec<u8>,
}

impl House {
    fn new(places: usize, weights: &[u32]) -> Self {
        let mut share = FairShare::new();
        for (key, of) in (0_u8..).zip(weights) {
            share.weigh(&key, weight(*of), Duration::ZERO);
        }
        let (now, held, had, begun) = Default::default();
        House { share, places, now, held, had, begun }
    }

    /// Whoever is next of those who want begins; until `end`, or until nobody wants.
    fn run(&mut self, end: Duration, mut wants: impl FnMut(u8, Duration) -> Option<Duration>) {
        while self.now < end {
            while self.held.len() < self.places {
                let waiting: Vec<(u8, Duration)> =
                    (0..8).filter_map(|key| Some((key, wants(key, self.now)?))).collect();
                for key in 0..8 {
                    self.share.wants(&key, waiting.iter().any(|(other, _)| *other == key), self.now);
                }
                let order = self.share.order(waiting.iter().map(|(key, _)| *key), self.now);
                let Some(next) = order.first() else { break };
                let (key, length) = *waiting.iter().find(|(key, _)| key == next).unwrap();
                self.share.begins(&key, self.now);
                self.held.push((self.now + length, key));
                self.begun.push(key);
            }
            let until = self.held.iter().map(|(until, _)| *until).min().unwrap_or(self.now + ms(1));
            // Time may also pass without anything happening: somebody may come.
            let until = until.min(self.now + ms(50)).min(end);
            for (_, key) in &self.held {
                *self.had.entry(*key).or_default() += until - self.now;
            }
            self.now = until;
            let (now, share) = (self.now, &mut self.share);
            self.held.retain(|(until, key)| {
                if *until <= now {
                    share.ends(key, now);
                }
                *until > now
            });
        }
    }

    fn had(&self, key: u8) -> Duration {
        self.had.get(&key).copied().unwrap_or_default()
    }
}

proptest! {
    /// The bound of the module's documentation, at every length of work, number of places and set of weights.
    #[test]
    fn what_those_get_who_always_want_more_differs_by_a_bound(
        places in 1..9_usize,
        weights in prop::collection::vec(1..9_u32, 2..5),
        lengths in prop::collection::vec(prop::collection::vec(1..400_u64, 1..6), 5),
        seconds in 1..60_u64,
    ) {
        let mut house = House::new(places, &weights);
        let count = u8::try_from(weights.len()).unwrap();
        let mut turn = 0;
        house.run(Duration::from_secs(seconds), |key, _| {
            turn += 1;
            let of = lengths.get(usize::from(key)).filter(|_| key < count)?;
            Some(ms(of[turn % of.len()]))
        });
        let longest = ms(lengths.iter().flatten().copied().max().unwrap());
        let least = weights.iter().copied().min().unwrap();
        let bound = (longest + QUANTUM) * u32::try_from(places).unwrap() / least;
        let each: Vec<Duration> =
            (0..count).map(|key| house.had(key) / weights[usize::from(key)]).collect();
        let apart = *each.iter().max().unwrap() - *each.iter().min().unwrap();
        // Rounding: a microsecond for each charge.
        prop_assert!(apart <= bound + ms(5), "{each:?} are {apart:?} apart, more than {bound:?}");
    }

    /// Nothing is kept free while anybody wants something, whoever else is idle.
    #[test]
    fn no_place_is_kept_for_who_wants_nothing(places in 1..9_usize, length in 1..300_u64) {
        let mut house = House::new(places, &[1, 1000]);
        house.run(Duration::from_secs(5), |key, _| (key == 0).then(|| ms(length)));
        prop_assert_eq!(house.had(0), Duration::from_secs(5) * u32::try_from(places).unwrap());
    }
}

#[test]
fn weights_are_what_each_gets_in_proportion_whatever_the_length_of_its_work() {
    let mut house = House::new(4, &[1, 3]);
    house.run(Duration::from_secs(100), |key, _| match key {
        0 => Some(ms(500)),
        1 => Some(ms(7)),
        _ => None,
    });
    let (one, three) = (house.had(0).as_secs_f64(), house.had(1).as_secs_f64());
    assert!((three / one - 3.0).abs() < 0.15, "{one} and {three}");
}

#[test]
fn an_hour_without_work_is_no_credit() {
    let mut house = House::new(2, &[1, 1]);
    let back = Duration::from_secs(3600);
    house.run(back, |key, _| (key == 0).then_some(ms(100)));
    let before = house.had(0);
    house.run(back + Duration::from_secs(10), |key, _| (key < 2).then_some(ms(100)));
    let (first, second) = (house.had(0) - before, house.had(1));
    let bound = (ms(100) + QUANTUM) * 2;
    assert!(first.abs_diff(second) <= bound, "{first:?} and {second:?}");
}

#[test]
fn who_comes_now_and_then_is_next_each_time() {
    let mut house = House::new(1, &[1, 1]);
    let mut came = Duration::ZERO;
    house.run(Duration::from_secs(60), |key, now| match key {
        0 => Some(ms(20)),
        1 if now >= came + ms(500) => {
            came = now;
            Some(ms(20))
        }
        _ => None,
    });
    let places: Vec<usize> = (0..house.begun.len()).filter(|at| house.begun[*at] == 1).collect();
    assert!(places.len() >= 115, "{}", places.len());
    assert!(places.windows(2).all(|pair| pair[1] - pair[0] <= 27), "{places:?}");
}

/// One piece of work of an hour is no claim to the hours that others had meanwhile.
#[test]
fn who_had_little_to_do_for_long_does_not_shut_the_others_out() {
    let mut house = House::new(4, &[1, 1]);
    let hour = Duration::from_secs(3600);
    let mut given = false;
    house.run(hour, |key, _| match key {
        0 => Some(ms(100)),
        1 => (!std::mem::replace(&mut given, true)).then_some(hour),
        _ => None,
    });
    let before = (house.had(0), house.had(1));
    house.run(hour + Duration::from_secs(20), |key, _| (key < 2).then_some(ms(100)));
    let (first, second) = (house.had(0) - before.0, house.had(1) - before.1);
    assert!(first.abs_diff(second) <= (ms(100) + QUANTUM) * 4, "{first:?} and {second:?}");
}

#[test]
fn places_that_are_free_together_are_divided() {
    let mut share = FairShare::new();
    let all = ["a", "b", "c"];
    share.weigh(&"c", weight(2), Duration::ZERO);
    for key in &all {
        share.wants(key, true, Duration::ZERO);
    }
    let of = |share: &mut FairShare<&'static str>, key| share.share(&key, &all, 8, Duration::ZERO);
    assert_eq!((of(&mut share, "a"), of(&mut share, "b"), of(&mut share, "c")), (2, 2, 4));
    assert_eq!(share.share(&"a", &["a"], 8, Duration::ZERO), 8, "nobody else wants any");
    // What is held counts.
    (0..2).for_each(|_| share.begins(&"a", Duration::ZERO));
    assert_eq!(share.share(&"b", &["a", "b"], 2, Duration::ZERO), 2);
}

#[test]
fn who_would_start_where_everybody_does_is_forgotten() {
    let mut share = FairShare::new();
    share.begins(&"idle", ms(0));
    share.ends(&"idle", ms(10));
    share.wants(&"busy", true, ms(10));
    share.begins(&"busy", ms(10));
    share.forget_idle(10);
    assert_eq!(share.known().count(), 2, "what it has had still counts");
    share.ends(&"busy", ms(100));
    share.forget_idle(10);
    assert_eq!(share.known().collect::<Vec<_>>(), [&"busy"]);
    share.wants(&"busy", false, ms(100));
    share.forget_idle(10);
    assert_eq!(share.known().count(), 0);
}

#[test]
fn the_idle_are_forgotten_where_there_are_too_many() {
    let mut share = FairShare::new();
    share.wants(&"busy", true, ms(0));
    ["a", "b"].iter().for_each(|key| share.begins(key, ms(0)));
    ["a", "b"].iter().for_each(|key| share.ends(key, ms(10)));
    share.forget_idle(3);
    assert_eq!(share.known().count(), 3);
    share.forget_idle(2);
    assert_eq!(share.known().collect::<Vec<_>>(), [&"busy"]);
}

#[test]
fn a_clock_that_goes_back_charges_nothing() {
    let mut share = FairShare::new();
    for key in ["a", "b"] {
        share.wants(&key, true, ms(1000));
    }
    share.begins(&"a", ms(1000));
    share.ends(&"a", ms(0));
    assert_eq!(share.order(["a", "b"], ms(0)), ["b", "a"], "b has not begun anything yet");
    share.begins(&"b", ms(0));
    share.ends(&"b", ms(1500));
    assert_eq!(share.order(["a", "b"], ms(1500)), ["a", "b"]);
}

#[test]
fn a_weight_has_bounds() {
    assert_eq!("3".parse(), Ok(weight(3)));
    for wrong in ["0", "1001", "-1", "", "1.5", "99999999999999999999"] {
        assert!(wrong.parse::<Weight>().is_err(), "{wrong}");
    }
    assert!(serde_json::from_str::<Weight>("0").is_err());
    assert_eq!(serde_json::from_str::<Weight>("1000").unwrap().get(), MAX_WEIGHT);
}
