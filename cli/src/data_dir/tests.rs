use super::*;

#[test]
fn the_second_user_of_a_directory_learns_who_the_first_is() {
    let dir = tempfile::tempdir().unwrap();
    let first = DataDir::take(dir.path()).unwrap();
    let problem = DataDir::take(dir.path()).unwrap_err();
    assert_eq!(problem.exit, Exit::Conflict);
    assert!(problem.message.contains(&format!("process {}", std::process::id())), "{}", problem.message);
    drop(first);
    DataDir::take(dir.path()).unwrap();
}

#[test]
fn a_file_is_no_directory() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert_eq!(DataDir::take(&file).unwrap_err().exit, Exit::Usage);
    assert_eq!(DataDir::take(&file.join("below")).unwrap_err().exit, Exit::Usage);
}

#[test]
fn a_directory_without_a_store_has_nothing_to_read() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(existing_log(dir.path()).unwrap_err().exit, Exit::NotFound);
}
