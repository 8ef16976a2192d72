use stepstream_shared::id::{ExecutionId, GraphId};
use stepstream_shared::time::Timestamp;

use super::*;

fn round<T: fmt::Display + FromStr>(value: &T) -> Option<T> {
    value.to_string().parse().ok()
}

#[test]
fn a_cursor_comes_back_as_it_was_given_out() {
    for micros in [0, 1_700_000_000_000_000, -5, i64::MAX, i64::MIN] {
        let created_at = Timestamp::from_micros(micros);
        let cursor = AfterExecution(ListCursor { created_at, execution: ExecutionId::from_bytes([7; 20]) });
        assert_eq!(round(&cursor), Some(cursor));
    }
    let graph = AfterGraph(GraphId::from_bytes([255; 20]));
    assert_eq!(round(&graph), Some(graph));
    assert_eq!(round(&AfterStep(u32::MAX)), Some(AfterStep(u32::MAX)));
}

#[test]
fn anything_else_is_no_cursor() {
    let execution = AfterExecution(ListCursor {
        created_at: Timestamp::from_micros(1),
        execution: ExecutionId::from_bytes([7; 20]),
    })
    .to_string();
    for text in ["", "e", "x", "s", "sx", "ä", "eäääääääääääääääääääää", &execution[..30], &format!("{execution}0")]
    {
        assert!(text.parse::<AfterExecution>().is_err(), "{text}");
        assert!(text.parse::<AfterGraph>().is_err(), "{text}");
        assert!(text.parse::<AfterStep>().is_err(), "{text}");
    }
    assert!(execution.parse::<AfterGraph>().is_err(), "a cursor of one list is none of another");
}

#[test]
fn a_page_names_the_next_only_when_there_is_one() {
    assert_eq!(page(vec![1, 2, 3], 2, |n| *n), (vec![1, 2], Some("2".to_owned())));
    assert_eq!(page(vec![1, 2], 2, |n| *n), (vec![1, 2], None));
    assert_eq!(page(Vec::<u8>::new(), 2, |n| *n), (vec![], None));
}
