use super::*;

fn named(names: &[&str]) -> Registry {
    let mut registry = Registry::new();
    for name in names {
        registry.register(*name, async |_, ()| Ok(()));
    }
    registry
}

#[test]
fn a_name_can_be_taken_once() {
    assert_eq!(named(&["a", "b"]).check(), Ok(()));
    assert_eq!(named(&["a", "a"]).check(), Err(RegistryError::Duplicate("a".into())));
    assert!(matches!(named(&[""]).check(), Err(RegistryError::Name(_))));
    assert!(matches!(named(&["a\n"]).check(), Err(RegistryError::Name(_))));
}

#[test]
fn an_unknown_name_is_answered_with_what_there_is() {
    let failure = named(&["echo", "sleep"]).find("ehco").err().unwrap();
    assert_eq!(failure.error().code.as_ref().unwrap().as_str(), "not_found");
    assert!(failure.error().message.contains("echo, sleep"), "{failure}");
    assert!(!failure.error().is_retryable());
    assert!(named(&[]).find("x").err().unwrap().error().message.ends_with("nothing"));
}
