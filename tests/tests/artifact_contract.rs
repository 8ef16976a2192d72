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

    /// Ours is strict about who calls, which the other one is not.
    #[tokio::test]
    async fn whoever_is_not_let_in_is_told_so() {
        let (_s3, endpoint) = S3::start().await;
        let store = ArtifactStore::in_bucket(&endpoint, BUCKET, "", ("nobody", "x")).unwrap();
        let refused = store.put(&TenantId::default_tenant(), b"tulips"[..].into()).await;
        assert!(matches!(refused, Err(ArtifactError::Denied(_))), "{refused:?}");
    }
}

/// A server that was not made for these tests.
mod s3_server {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use object_store::aws::{AmazonS3, AmazonS3Builder};
    use object_store::path::Path;
    use object_store::{ObjectStore, ObjectStoreExt};
    use stepstream_runtime::artifact::ArtifactStore;
    use stepstream_runtime::servers::S3Server;
    use stepstream_tests::harness::s3::KEY;
    use tokio::sync::OnceCell;

    /// One for all tests of this program; it ends with the program. Each test has a bucket of its own.
    static SERVER: OnceCell<S3Server> = OnceCell::const_new();
    static BUCKETS: AtomicU32 = AtomicU32::new(0);

    async fn bucket() -> (&'static S3Server, String) {
        let server = SERVER.get_or_init(async || stepstream_tests::servers::s3().await.unwrap()).await;
        let name = format!("artifacts-{}", BUCKETS.fetch_add(1, Ordering::Relaxed));
        server.make_bucket(&name).await.unwrap();
        (server, name)
    }

    /// What is behind the store's back: the bucket, by a client of its own.
    fn behind(url: &str, bucket: &str) -> Arc<AmazonS3> {
        let builder = AmazonS3Builder::new().with_endpoint(url).with_allow_http(true).with_region("us-east-1");
        let builder = builder.with_bucket_name(bucket).with_access_key_id(KEY.0).with_secret_access_key(KEY.1);
        Arc::new(builder.build().unwrap())
    }

    fn wait<T>(future: impl Future<Output = T>) -> T {
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(future))
    }

    fn at(key: &str) -> Path {
        Path::from(format!("some/prefix/{key}"))
    }

    async fn fresh(rule: impl FnOnce(Place) -> BoxFuture<'static, ()>) {
        let (server, bucket) = bucket().await;
        let to = behind(server.url(), &bucket);
        let from = to.clone();
        rule(Place {
            store: ArtifactStore::in_bucket(server.url(), &bucket, "some/prefix", KEY).unwrap(),
            overwrite: Box::new(move |key, bytes| {
                wait(async {
                    match bytes {
                        Some(bytes) => drop(to.put(&at(key), bytes.into()).await.unwrap()),
                        None => to.delete(&at(key)).await.unwrap(),
                    }
                });
            }),
            read: Box::new(move |key| {
                wait(async { from.get(&at(key)).await.unwrap().bytes().await.unwrap().to_vec() })
            }),
        })
        .await;
    }

    stepstream_tests::artifact_contract!(fresh);

    /// The collector relies on it: where an object is there, a conditional put says so and changes nothing.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_conditional_put_is_refused_by_the_server_itself() {
        let (server, bucket) = bucket().await;
        let objects = behind(server.url(), &bucket);
        let create = || object_store::PutMode::Create.into();
        objects.put_opts(&at("x"), "first".into(), create()).await.unwrap();
        let second = objects.put_opts(&at("x"), "second".into(), create()).await;
        assert!(matches!(second, Err(object_store::Error::AlreadyExists { .. })), "{second:?}");
        assert_eq!(objects.get(&at("x")).await.unwrap().bytes().await.unwrap(), "first");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_bucket_that_is_not_there_is_told_of() {
        let (server, _) = bucket().await;
        let store = ArtifactStore::in_bucket(server.url(), "no-such-bucket", "", KEY).unwrap();
        let tenant = stepstream_shared::id::TenantId::default_tenant();
        let refused = store.put(&tenant, b"tulips"[..].into()).await;
        assert!(refused.is_err(), "{refused:?}");
        let digest = stepstream_shared::artifact::ContentHash::of(b"tulips");
        assert!(store.get(&tenant, &digest, 100).await.is_err());
    }
}
