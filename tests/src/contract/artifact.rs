//! The rules of the artifact store, for every place that artifacts can be in.

#![allow(clippy::unwrap_used, reason = "these are tests, although they are compiled as a library")]

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use stepstream_runtime::artifact::{ArtifactError, ArtifactStore, Stored, TakenAway};
use stepstream_shared::artifact::{Compression, ContentHash};
use stepstream_shared::id::TenantId;

/// Writes behind a store's back; `None` takes the bytes away.
type Overwrite = dyn Fn(&str, Option<Vec<u8>>) + Send + Sync;
/// Reads behind a store's back.
type Read = dyn Fn(&str) -> Vec<u8> + Send + Sync;

/// A store, and the bytes behind its back.
pub struct Place {
    pub store: ArtifactStore,
    /// Puts bytes under a key, or takes them away.
    pub overwrite: Box<Overwrite>,
    pub read: Box<Read>,
}

/// A test for each rule, for a place that `$fresh` makes: an async function that takes a rule and runs it on a fresh one.
#[macro_export]
macro_rules! artifact_contract {
    ($with_fresh:path) => {
        $crate::artifact_contract! { @rules $with_fresh;
            what_is_put_is_got_again_by_its_hash
            a_stream_is_stored_like_the_same_bytes
            d47_compression_is_real_and_said_with_each_object
            d48_swapped_content_is_refused_on_read
            d48_whatever_is_wrong_with_an_object_is_found
            d50_the_same_content_is_stored_once
            d50_an_object_that_is_cut_is_written_again
            d51_another_tenant_finds_nothing
            what_was_deleted_is_not_found
            only_what_is_old_is_taken_away_and_what_is_put_then_is_there
            a_list_names_what_is_there_and_nothing_else
            what_is_read_is_bounded
            a_content_that_cannot_be_read_leaves_nothing
            many_put_the_same_at_once
        }
    };
    (@rules $with_fresh:path; $($rule:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $rule() {
            $with_fresh(|place| Box::pin($crate::contract::artifact::$rule(place))).await;
        }
    )*};
}

fn tenant() -> TenantId {
    TenantId::default_tenant()
}

fn key(digest: &ContentHash) -> String {
    format!("{}/{}/{}", tenant(), &digest.hex()[..2], digest.hex())
}

/// Bytes that do not compress, the same for the same seed.
fn noise(seed: u8, length: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(length + 32);
    let mut block = [seed; 32];
    while out.len() < length {
        block = *ContentHash::of(&block).as_bytes();
        out.extend_from_slice(&block);
    }
    out.truncate(length);
    out
}

async fn put(place: &Place, content: &[u8]) -> Stored {
    place.store.put(&tenant(), Bytes::copy_from_slice(content)).await.unwrap()
}

async fn get(place: &Place, digest: &ContentHash) -> Result<Bytes, ArtifactError> {
    place.store.get(&tenant(), digest, 1 << 30).await
}

pub async fn what_is_put_is_got_again_by_its_hash(place: Place) {
    let text = "tulips and roses ".repeat(20_000);
    for content in [vec![], vec![7], noise(1, 511), text.into_bytes(), noise(2, 300_000), noise(3, 9 << 20)] {
        let stored = put(&place, &content).await;
        assert_eq!((stored.digest, stored.size), (ContentHash::of(&content), content.len() as u64));
        assert!(stored.stored_size <= stored.size + 16, "never more than its header larger");
        assert!(place.store.exists(&tenant(), &stored.digest).await.unwrap());
        assert!(get(&place, &stored.digest).await.unwrap() == content, "{} bytes", content.len());
    }
}

pub async fn a_stream_is_stored_like_the_same_bytes(place: Place) {
    // Below and above what is kept in memory, and above one part of an upload.
    for content in [noise(1, 1000), noise(2, 20 << 20), b"tulips ".repeat(3 << 20)] {
        let parts: Vec<_> = content.chunks(100_000).map(|part| Ok(Bytes::copy_from_slice(part))).collect();
        let stored = place.store.put_stream(&tenant(), stream::iter(parts)).await.unwrap();
        assert_eq!((stored.digest, stored.size), (ContentHash::of(&content), content.len() as u64));
        assert!(get(&place, &stored.digest).await.unwrap() == content);
    }
}

pub async fn d47_compression_is_real_and_said_with_each_object(place: Place) {
    let text = "tulips and roses ".repeat(1000);
    let stored = put(&place, text.as_bytes()).await;
    assert_eq!(stored.compression, Compression::Zstd);
    let object = (place.read)(&key(&stored.digest));
    assert_eq!(object.len() as u64, stored.stored_size);
    assert_eq!(object[..5], *b"SSA1\x01", "the object says it itself");
    assert_eq!(object[16..20], [0x28, 0xb5, 0x2f, 0xfd], "a zstd frame (RFC 8878), as any decoder reads it");

    let stored = put(&place, &noise(1, 10_000)).await;
    assert_eq!((stored.compression, stored.stored_size), (Compression::None, 10_016));
    assert_eq!((place.read)(&key(&stored.digest))[4], 0);
}

pub async fn d48_swapped_content_is_refused_on_read(place: Place) {
    let (paid, owed) = (put(&place, b"paid: 10").await, put(&place, b"paid: 99").await);
    (place.overwrite)(&key(&paid.digest), Some((place.read)(&key(&owed.digest))));
    match get(&place, &paid.digest).await {
        Err(ArtifactError::Corrupt { digest, reason }) => {
            assert_eq!(digest, paid.digest);
            assert!(reason.contains(&owed.digest.to_string()), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert!(get(&place, &owed.digest).await.is_ok());
}

pub async fn d48_whatever_is_wrong_with_an_object_is_found(place: Place) {
    let text = "tulips and roses ".repeat(50_000);
    let stored = put(&place, text.as_bytes()).await;
    let (key, good) = (key(&stored.digest), (place.read)(&key(&stored.digest)));
    let changed = |at: usize, to: u8| {
        let mut object = good.clone();
        object[at] = to;
        object
    };
    let mut longer = good.clone();
    longer.extend_from_slice(b"more");
    let bad = [
        vec![],
        good[..10].to_vec(),
        good[..good.len() - 1].to_vec(),
        good[..16].to_vec(),
        changed(0, b'X'),
        changed(4, 0),
        changed(4, 9),
        changed(8, good[8] ^ 1),
        changed(15, 0xff),
        changed(good.len() / 2, good[good.len() / 2] ^ 0x55),
        longer,
    ];
    for object in bad {
        let shown = (object.len(), object.first().copied(), object.get(4).copied());
        (place.overwrite)(&key, Some(object));
        assert!(matches!(get(&place, &stored.digest).await, Err(ArtifactError::Corrupt { .. })), "{shown:?}");
    }
    // The last part of a stream is held back until the whole is known to be good.
    let large = noise(9, 1 << 20);
    let stored = put(&place, &large).await;
    let mut object = (place.read)(&self::key(&stored.digest));
    object[20] ^= 1;
    (place.overwrite)(&self::key(&stored.digest), Some(object));
    let mut reader = place.store.open(&tenant(), &stored.digest).await.unwrap();
    let mut given = 0;
    let ended = loop {
        match reader.next().await {
            Ok(Some(part)) => given += part.len(),
            other => break other,
        }
    };
    assert!(matches!(ended, Err(ArtifactError::Corrupt { .. })), "{ended:?}");
    assert!(given < large.len(), "nobody takes it for complete");
}

pub async fn d50_the_same_content_is_stored_once(place: Place) {
    let content = noise(1, 5000);
    let (first, second) = (put(&place, &content).await, put(&place, &content).await);
    assert!(first.written && !second.written);
    assert_eq!(Stored { written: true, ..second }, first);
    assert_eq!(place.store.list(None).count().await, 1);
}

pub async fn d50_an_object_that_is_cut_is_written_again(place: Place) {
    let stored = put(&place, b"tulips").await;
    (place.overwrite)(&key(&stored.digest), Some(b"SSA1".to_vec()));
    assert!(put(&place, b"tulips").await.written);
    assert_eq!(get(&place, &stored.digest).await.unwrap(), Bytes::from_static(b"tulips"));
}

pub async fn d51_another_tenant_finds_nothing(place: Place) {
    let stored = put(&place, b"mine").await;
    let other: TenantId = "tenant_other".parse().unwrap();
    assert!(!place.store.exists(&other, &stored.digest).await.unwrap());
    assert!(matches!(place.store.get(&other, &stored.digest, 100).await, Err(ArtifactError::NotFound(_))));
    assert!(!place.store.delete(&other, &stored.digest).await.unwrap());
    assert_eq!(place.store.list(Some(&other)).count().await, 0);
    let theirs = place.store.put(&other, Bytes::from_static(b"mine")).await.unwrap();
    assert!(theirs.written, "each tenant has its own");
    assert!(place.store.delete(&other, &theirs.digest).await.unwrap());
    assert!(get(&place, &stored.digest).await.is_ok());
}

pub async fn only_what_is_old_is_taken_away_and_what_is_put_then_is_there(place: Place) {
    let stored = put(&place, b"tulips").await;
    let hour = Duration::from_secs(3600);
    let tenant = tenant();
    let take = |border: SystemTime| place.store.take_away(&tenant, &stored.digest, border);
    assert_eq!(take(SystemTime::now() - hour).await.unwrap(), TakenAway::Young);
    assert!(get(&place, &stored.digest).await.is_ok());
    assert_eq!(take(SystemTime::now() + hour).await.unwrap(), TakenAway::Deleted);
    assert_eq!(take(SystemTime::now() + hour).await.unwrap(), TakenAway::Missing);
    assert!(matches!(get(&place, &stored.digest).await, Err(ArtifactError::NotFound(_))));
    assert!(put(&place, b"tulips").await.written);
    assert!(get(&place, &stored.digest).await.is_ok());
}

pub async fn what_was_deleted_is_not_found(place: Place) {
    let stored = put(&place, b"tulips").await;
    assert!(place.store.modified(&tenant(), &stored.digest).await.unwrap().is_some());
    assert!(place.store.delete(&tenant(), &stored.digest).await.unwrap());
    assert!(!place.store.delete(&tenant(), &stored.digest).await.unwrap());
    assert!(
        matches!(get(&place, &stored.digest).await, Err(ArtifactError::NotFound(digest)) if digest == stored.digest)
    );
    assert_eq!(place.store.modified(&tenant(), &stored.digest).await.unwrap(), None);
    assert!(put(&place, b"tulips").await.written);
}

pub async fn a_list_names_what_is_there_and_nothing_else(place: Place) {
    assert_eq!(place.store.list(None).count().await, 0, "also where nothing was ever stored");
    let mut expected = Vec::new();
    for seed in 0..20 {
        expected.push(put(&place, &noise(seed, 600)).await);
    }
    let first = &expected[0];
    for foreign in ["readme", "tenant_default/ab/notes", &format!("nobody/00/{}", first.digest.hex())] {
        (place.overwrite)(foreign, Some(b"x".to_vec()));
    }
    let mut listed: Vec<_> = place.store.list(None).try_collect().await.unwrap();
    listed.sort_by_key(|object| object.digest);
    expected.sort_by_key(|stored| stored.digest);
    let listed: Vec<_> = listed.into_iter().map(|object| (object.tenant, object.digest, object.stored_size)).collect();
    assert_eq!(listed, expected.iter().map(|each| (tenant(), each.digest, each.stored_size)).collect::<Vec<_>>());
}

pub async fn what_is_read_is_bounded(place: Place) {
    let stored = put(&place, &vec![0; 1 << 20]).await;
    let limited = place.store.get(&tenant(), &stored.digest, (1 << 20) - 1).await;
    assert!(matches!(limited, Err(ArtifactError::TooLarge { found: 1_048_576, limit: 1_048_575 })), "{limited:?}");
    // A little that claims to be little, and unfolds into much.
    let mut bomb = (place.read)(&key(&stored.digest));
    assert!(bomb.len() < 1000);
    bomb[8..16].copy_from_slice(&100_u64.to_le_bytes());
    (place.overwrite)(&key(&stored.digest), Some(bomb));
    assert!(matches!(get(&place, &stored.digest).await, Err(ArtifactError::Corrupt { .. })));
}

pub async fn a_content_that_cannot_be_read_leaves_nothing(place: Place) {
    for sound in [1, 12 << 20] {
        let broken = [Ok(Bytes::from(noise(1, sound))), Err(std::io::Error::other("the pipe broke"))];
        let refused = place.store.put_stream(&tenant(), stream::iter(broken)).await;
        assert!(matches!(refused, Err(ArtifactError::Content(_))), "{refused:?}");
    }
    assert_eq!(place.store.list(None).count().await, 0);
}

pub async fn many_put_the_same_at_once(place: Place) {
    let content = Bytes::from(noise(1, 200_000));
    let tenant = tenant();
    let puts = (0..16).map(|_| place.store.put(&tenant, content.clone()));
    let stored = futures::future::join_all(puts).await;
    assert!(stored.iter().all(|stored| stored.as_ref().unwrap().digest == ContentHash::of(&content)));
    assert_eq!(get(&place, &ContentHash::of(&content)).await.unwrap(), content);
    assert_eq!(place.store.list(None).count().await, 1);
}
