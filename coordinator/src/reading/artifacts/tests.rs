use proptest::prelude::*;
use serde_json::Value;
use stepstream_shared::id::{ArtifactId, ExecutionId};

use super::*;

fn item(name: &str, node: Option<&str>) -> ArtifactItem {
    ArtifactItem {
        artifact_id: ArtifactId::from_bytes([1; 20]),
        name: name.to_owned(),
        artifact_type: ArtifactType::Text,
        content_type: "text/plain".to_owned(),
        digest: ContentHash::of(name.as_bytes()).to_string(),
        size: 1,
        stored_size: None,
        compression: Compression::None,
        step_id: None,
        node: node.map(str::to_owned),
        recorded_at: Timestamp::from_micros(0),
        sequence: 1,
        metadata: Value::Null,
    }
}

/// Names that somebody might hope to be taken for a path, an option, a header or a device, and any others.
fn names() -> impl Strategy<Value = String> {
    let parts = prop::sample::select(vec![
        "..",
        "/",
        "\\",
        ".",
        "-",
        "~",
        "%2e%2e%2f",
        "\"",
        ";",
        "\r\n",
        "\0",
        "C:",
        "NUL",
        "$(id)",
        "`id`",
        "ä",
        "\u{202e}",
        "a",
    ]);
    prop_oneof![prop::collection::vec(parts, 0..8).prop_map(|parts| parts.concat()), any::<String>()]
}

proptest! {
    /// Whatever it is called, the name of the file is one name: no folder, nothing hidden, no option, nothing that ends a
    /// header.
    #[test]
    fn d49_a_name_is_no_path_wherever_it_is_written_to(name in names()) {
        let file = item(&name, None).file_name();
        prop_assert!((1..=100).contains(&file.len()), "{file:?}");
        prop_assert!(file.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)), "{file:?}");
        prop_assert!(!file.starts_with(['.', '-']), "{file:?}");
        let path = std::path::Path::new("/folder").join(&file);
        prop_assert_eq!(path.parent(), Some(std::path::Path::new("/folder")));
        prop_assert_eq!(path.components().count(), 3);
    }

    /// An artifact is found by what it is called and by nothing else.
    #[test]
    fn d49_a_name_finds_what_is_called_so(name in names(), wanted in names()) {
        let items = vec![item(&name, Some("node"))];
        let list = ArtifactList { execution_id: ExecutionId::from_bytes([1; 20]), bytes: 1, items };
        let at_node = |node: &str| format!("{node}/{name}");
        prop_assert!(list.find(&name).is_some());
        prop_assert!(list.find(&at_node("node")).is_some());
        prop_assert!(list.find(&at_node("other")).is_none());
        let is_it = wanted == name || wanted == at_node("node");
        prop_assert_eq!(list.find(&wanted).is_some(), is_it);
    }
}
