use super::*;

fn read(text: &str) -> Result<Settings, Problem> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stepstream.toml");
    std::fs::write(&path, text).unwrap();
    Settings::load(Some(&path))
}

#[test]
fn every_key_is_read() {
    let settings =
        read("data = 'd'\nserver = 'http://s'\ntenant = 'tenant_a'\nallow-process = true\nslots = 3\n").unwrap();
    let expected = Settings {
        data: Some("d".into()),
        server: Some("http://s".into()),
        tenant: Some("tenant_a".into()),
        allow_process: Some(true),
        slots: Some(3),
        allow_process_ignored: false,
    };
    assert_eq!(settings, expected);
}

#[test]
fn a_switch_is_a_word_that_says_yes_or_no() {
    for (words, meaning) in [("1 true T yes y ON", true), ("0 false f no N off Off", false)] {
        for word in words.split(' ') {
            assert_eq!(switch("X", word).unwrap(), meaning, "{word}");
        }
    }
    for word in ["maybe", "disabled", "2", " "] {
        let problem = switch("STEPSTREAM_X", word).unwrap_err();
        assert!(problem.exit == crate::exit::Exit::Usage && problem.message.contains("STEPSTREAM_X"), "{word}");
    }
}

#[test]
fn a_key_that_is_not_known_is_an_error() {
    let problem = read("dta = 'd'").unwrap_err();
    assert_eq!(problem.exit, crate::exit::Exit::Usage);
    assert!(problem.message.contains("dta"), "{}", problem.message);
}

#[test]
fn a_file_that_was_named_must_be_there() {
    assert!(Settings::load(Some(Path::new("/nonexistent/stepstream.toml"))).is_err());
}
