//! Every place for artifacts keeps the same rules.

#![allow(clippy::unwrap_used, reason = "all of it is tests, helpers included")]

use futures::future::BoxFuture;
use stepstream_tests::contract::artifact::Place;

mod folder {
    use super::*;
    use stepstream_runtime::artifact::ArtifactStore;

    async fn fresh(rule: impl FnOnce(Place) -> BoxFuture<'static, ()>) {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("made/on/demand");
        let store = ArtifactStore::in_folder(&folder).unwrap();
        let (to, from) = (folder.clone(), folder);
        rule(Place {
            store,
            overwrite: Box::new(move |key, bytes| match bytes {
                Some(bytes) => {
                    std::fs::create_dir_all(to.join(key).parent().unwrap()).unwrap();
                    std::fs::write(to.join(key), bytes).unwrap();
                }
                None => std::fs::remove_file(to.join(key)).unwrap(),
            }),
            read: Box::new(move |key| std::fs::read(from.join(key)).unwrap_or_default()),
        })
        .await;
    }

    stepstream_tests::artifact_contract!(fresh);

    /// What a process that was killed while it wrote leaves behind is no artifact.
    #[tokio::test]
    async fn d49_a_file_that_is_being_written_is_no_artifact() {
        let directory = tempfile::tempdir().unwrap();
        let store = ArtifactStore::in_folder(directory.path()).unwrap();
        let tenant = stepstream_shared::id::TenantId::default_tenant();
        let stored = store.put(&tenant, b"tulips"[..].into()).await.unwrap();
        let hex = stored.digest.hex();
        let path = directory.path().join(tenant.as_str()).join(&hex[..2]).join(&hex);
        std::fs::rename(&path, path.with_file_name(format!("{hex}#1"))).unwrap();
        assert!(!store.exists(&tenant, &stored.digest).await.unwrap());
        assert_eq!(futures::StreamExt::count(store.list(None)).await, 0);
        assert!(store.put(&tenant, b"tulips"[..].into()).await.unwrap().written);
    }
}

mod memory {
    use super::*;
    use futures::executor::block_on;
    use object_store::memory::InMemory;
    use object_store::path::Path;
    use object_store::{ObjectStore, ObjectStoreExt};
    use std::sync::Arc;
    use stepstream_runtime::artifact::ArtifactStore;

    async fn fresh(rule: impl FnOnce(Place) -> BoxFuture<'static, ()>) {
        let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let (to, from) = (objects.clone(), objects.clone());
        rule(Place {
            store: ArtifactStore::over(objects, Path::default(), "memory"),
            overwrite: Box::new(move |key, bytes| {
                block_on(async {
                    match bytes {
                        Some(bytes) => drop(to.put(&Path::from(key), bytes.into()).await.unwrap()),
                        None => to.delete(&Path::from(key)).await.unwrap(),
                    }
                });
            }),
            read: Box::new(move |key| {
                block_on(async { from.get(&Path::from(key)).await.unwrap().bytes().await.unwrap().to_vec() })
            }),
        })
        .await;
    }

    stepstream_tests::artifact_contract!(fresh);
}

mod s3 {
    use super::*;
    use stepstream_runtime::artifact::{ArtifactError, ArtifactStore};
    use stepstream_shared::id::TenantId;
    use stepstream_tests::harness::s3::{BUCKET, KEY, S3};

    async fn fresh(rule: impl FnOnce(Place) -> BoxFuture<'static, ()>) {
        let (s3, endpoint) = S3::start().await;
        let (to, from) = (s3.clone(), s3);
        rule(Place {
            store: ArtifactStore::in_bucket(&endpoint, BUCKET, "some/prefix", KEY).unwrap(),
            overwrite: Box::new(move |key, bytes| to.overwrite(&format!("some/prefix/{key}"), bytes)),
            read: Box::new(move |key| from.read(&format!("some/prefix/{key}"))),
        })
        .await;
    }

    stepstream_tests::artifact_contract!(fresh);

    #[tokio::test]
    async fn whoever_is_not_let_in_is_told_so() {
        let (_s3, endpoint) = S3::start().await;
        let store = ArtifactStore::in_bucket(&endpoint, BUCKET, "", ("nobody", "x")).unwrap();
        let refused = store.put(&TenantId::default_tenant(), b"tulips"[..].into()).await;
        assert!(matches!(refused, Err(ArtifactError::Denied(_))), "{refused:?}");
    }
}
