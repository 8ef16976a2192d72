use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutResult, Result,
};
use tokio::sync::{Notify, Semaphore};

use super::*;
use crate::artifact::{ArtifactStore, LEAST_GRACE};

/// A folder that says when an object, not its mark, is about to be deleted, and waits for leave.
#[derive(Debug)]
struct Gated {
    folder: Arc<LocalFileSystem>,
    gate: Arc<(Notify, Semaphore)>,
}

impl std::fmt::Display for Gated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("gated")
    }
}

#[async_trait]
impl ObjectStore for Gated {
    async fn put_opts(&self, at: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.folder.put_opts(at, payload, options).await
    }

    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.folder.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.folder.get_opts(at, options).await
    }

    fn delete_stream(&self, all: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (folder, gate) = (Arc::clone(&self.folder), Arc::clone(&self.gate));
        all.then(move |at| {
            let (folder, gate) = (Arc::clone(&folder), Arc::clone(&gate));
            async move {
                let at = at?;
                if !at.as_ref().ends_with(MARK) {
                    gate.0.notify_one();
                    gate.1.acquire().await.expect("never closed").forget();
                }
                folder.delete(&at).await.map(|()| at)
            }
        })
        .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.folder.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.folder.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.folder.copy_opts(from, to, options).await
    }
}

struct Place {
    directory: tempfile::TempDir,
    store: ArtifactStore,
    tenant: TenantId,
}

const CONTENT: &[u8] = b"tulips";

impl Place {
    async fn with_an_old_object() -> (Self, Arc<(Notify, Semaphore)>, ContentHash) {
        let directory = tempfile::tempdir().unwrap();
        let folder = Arc::new(LocalFileSystem::new_with_prefix(directory.path()).unwrap());
        let gate = Arc::new((Notify::new(), Semaphore::new(0)));
        let gated = Gated { folder, gate: Arc::clone(&gate) };
        let store = ArtifactStore::over(Arc::new(gated), Path::default(), "gated");
        let place = Place { directory, store, tenant: TenantId::default_tenant() };
        let digest = place.put().await;
        place.age(&digest, "", LEAST_GRACE * 3);
        (place, gate, digest)
    }

    async fn put(&self) -> ContentHash {
        self.store.put(&self.tenant, Bytes::from_static(CONTENT)).await.unwrap().digest
    }

    fn file(&self, digest: &ContentHash, ending: &str) -> std::fs::File {
        let hex = digest.hex();
        let path = self.directory.path().join(self.tenant.as_str()).join(&hex[..2]).join(format!("{hex}{ending}"));
        std::fs::File::options().write(true).create(true).truncate(false).open(path).unwrap()
    }

    fn age(&self, digest: &ContentHash, ending: &str, by: Duration) {
        self.file(digest, ending).set_modified(SystemTime::now() - by).unwrap();
    }

    async fn take_away(&self, digest: &ContentHash) -> TakenAway {
        self.store.take_away(&self.tenant, digest, SystemTime::now() - LEAST_GRACE).await.unwrap()
    }
}

#[tokio::test]
async fn what_is_put_while_it_is_being_deleted_is_there_when_it_is_acknowledged() {
    let (place, gate, digest) = Place::with_an_old_object().await;
    let place = Arc::new(place);
    let collector = tokio::spawn({
        let place = Arc::clone(&place);
        async move { place.take_away(&digest).await }
    });
    // It has seen that the object is old, and its deletion is on its way.
    gate.0.notified().await;
    let writer = tokio::spawn({
        let place = Arc::clone(&place);
        async move {
            place.put().await;
        }
    });
    let young = SystemTime::now() - LEAST_GRACE;
    while place.store.modified(&place.tenant, &digest).await.unwrap().is_some_and(|at| at < young) {
        tokio::task::yield_now().await;
    }
    gate.1.add_permits(1);
    assert_eq!(collector.await.unwrap(), TakenAway::Deleted);
    writer.await.unwrap();
    assert!(place.store.exists(&place.tenant, &digest).await.unwrap(), "it was acknowledged");
    assert_eq!(place.take_away(&digest).await, TakenAway::Young);
}

#[tokio::test]
async fn a_mark_that_was_left_behind_holds_up_nobody_for_long() {
    let (place, gate, digest) = Place::with_an_old_object().await;
    gate.1.add_permits(1);
    // Somebody is at it.
    drop(place.file(&digest, MARK));
    assert_eq!(place.take_away(&digest).await, TakenAway::Busy);
    // Nobody is any more.
    place.age(&digest, MARK, ABANDONED_AFTER * 2);
    place.put().await;
    place.age(&digest, "", LEAST_GRACE * 3);
    assert_eq!(place.take_away(&digest).await, TakenAway::Busy, "cleared, for the next one");
    assert_eq!(place.take_away(&digest).await, TakenAway::Deleted);
    assert_eq!(place.take_away(&digest).await, TakenAway::Missing);
    let left = place.store.list(None).count().await;
    assert_eq!(left, 0);
    place.put().await;
    assert!(place.store.exists(&place.tenant, &digest).await.unwrap());
}
