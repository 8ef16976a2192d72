use super::*;

#[test]
fn the_address_is_read_from_a_line_that_is_complete() {
    let log = "\u{1b}[31mWARNING: this is a development server.\u{1b}[0m\n * Running on http://127.0.0.1:40257\n";
    assert_eq!(address(log).as_deref(), Some("http://127.0.0.1:40257"));
    assert_eq!(address(&log[..log.len() - 3]), None, "half a number is another port");
    assert_eq!(address(" * Running on http://0.0.0.0:80\n"), None);
    assert_eq!(address(""), None);
}
