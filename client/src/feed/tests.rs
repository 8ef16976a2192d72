use super::*;

fn frames(chunks: &[&[u8]]) -> Vec<(String, String)> {
    let mut lines = Lines::default();
    for chunk in chunks {
        lines.push(chunk).unwrap();
    }
    std::iter::from_fn(|| lines.pop()).map(|frame| (frame.event, frame.data)).collect()
}

#[test]
fn a_frame_may_come_in_any_pieces() {
    let whole: &[u8] =
        b"id: 1\nevent: step_completed\ndata: {\"a\":\"\xc3\xa4\"}\n\n: still here\n\nevent: end\ndata: {}\n\n";
    let expected = frames(&[whole]);
    assert_eq!(expected.len(), 2);
    assert_eq!(expected[0], ("step_completed".to_owned(), "{\"a\":\"ä\"}".to_owned()));
    for cut in 0..whole.len() {
        assert_eq!(frames(&[&whole[..cut], &whole[cut..]]), expected, "cut at {cut}");
    }
}

#[test]
fn a_frame_that_broke_off_is_not_taken() {
    assert_eq!(frames(&[b"event: step_completed\ndata: {\"a\""]), []);
}

#[test]
fn lines_of_data_and_carriage_returns_are_joined() {
    assert_eq!(frames(&[b"data: a\r\ndata: b\r\n\r\n"]), [(String::new(), "a\nb".to_owned())]);
}
