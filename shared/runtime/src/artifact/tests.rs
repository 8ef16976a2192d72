use stepstream_shared::artifact::ContentHash;

use super::*;

#[test]
fn an_address_is_a_folder_or_a_bucket() {
    let folder = |path: &str| Ok(ArtifactsUrl::Folder(path.into()));
    assert_eq!("a/b".parse().map_err(|_: ArtifactError| ()), folder("a/b"));
    assert_eq!("file:///a/b".parse().map_err(|_: ArtifactError| ()), folder("/a/b"));
    let bucket = "s3://bucket/a/b".parse::<ArtifactsUrl>().unwrap();
    assert_eq!(bucket.to_string(), "s3://bucket/a/b");
    for wrong in ["", "s3://", "s3://b%c/x", "s3://b/../x", "gs://b/x", "file://x"] {
        assert!(matches!(wrong.parse::<ArtifactsUrl>(), Err(ArtifactError::BadUrl(_))), "{wrong}");
    }
}

#[test]
fn a_key_is_read_as_it_was_made_and_no_other_is() {
    let store = ArtifactStore::over(Arc::new(object_store::memory::InMemory::new()), Path::from("x/y"), "test");
    let (tenant, digest) = (TenantId::default_tenant(), ContentHash::of(b"tulips"));
    let key = store.0.key(&tenant, &digest);
    assert_eq!(key.to_string(), format!("x/y/tenant_default/{}/{}", &digest.hex()[..2], digest.hex()));
    assert_eq!(store.0.address(&key), Some((tenant, digest)));
    let hex = digest.hex();
    for foreign in ["x/y", "x/y/tenant_default/ab/cd", "y/tenant_default/ab", &format!("x/y/tenant_default/00/{hex}")] {
        assert_eq!(store.0.address(&Path::from(foreign)), None, "{foreign}");
    }
}

#[test]
fn a_full_disk_is_called_one() {
    let full = std::io::Error::from_raw_os_error(28);
    assert!(matches!(ArtifactError::io(&full), ArtifactError::Full(_)));
    let wrapped =
        object_store::Error::Generic { store: "test", source: Box::new(std::io::Error::from_raw_os_error(28)) };
    assert!(matches!(ArtifactError::from(wrapped), ArtifactError::Full(_)));
}
