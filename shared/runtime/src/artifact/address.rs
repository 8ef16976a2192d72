//! Where artifacts are: a folder, or a bucket.

use std::path::{Path as FilePath, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path;

use super::{ArtifactError, ArtifactStore, Inner};

/// `s3://bucket/prefix`, `file:///path` or a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArtifactsUrl {
    Folder(PathBuf),
    S3 { bucket: String, prefix: Path },
}

impl FromStr for ArtifactsUrl {
    type Err = ArtifactError;

    fn from_str(text: &str) -> Result<Self, ArtifactError> {
        let wrong =
            |why: &str| Err(ArtifactError::BadUrl(format!("`{text}`: {why}; say s3://bucket/prefix or a folder")));
        if let Some(rest) = text.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            if bucket.is_empty() || !bucket.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)) {
                return wrong("no name of a bucket");
            }
            return match Path::parse(prefix) {
                Ok(prefix) => Ok(ArtifactsUrl::S3 { bucket: bucket.to_owned(), prefix }),
                Err(error) => wrong(&format!("no prefix of keys: {error}")),
            };
        }
        match text.strip_prefix("file://") {
            Some(path) if path.starts_with('/') => Ok(ArtifactsUrl::Folder(path.into())),
            Some(_) => wrong("the path of a file:// address begins with a slash"),
            None if text.is_empty() => wrong("nothing"),
            None if text.contains("://") => wrong("no place that artifacts can be in"),
            None => Ok(ArtifactsUrl::Folder(text.into())),
        }
    }
}

impl std::fmt::Display for ArtifactsUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ArtifactsUrl::Folder(folder) => write!(f, "{}", folder.display()),
            ArtifactsUrl::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

impl ArtifactsUrl {
    /// The store that is there. A folder is made where there is none; a bucket is looked at when something is asked of it.
    ///
    /// Of S3, the usual variables of the environment say how it is reached: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
    /// `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_ENDPOINT_URL` for other services, which may be a plain `http://` one.
    pub fn open(&self) -> Result<ArtifactStore, ArtifactError> {
        match self {
            ArtifactsUrl::Folder(folder) => ArtifactStore::in_folder(folder),
            ArtifactsUrl::S3 { bucket, prefix } => s3(AmazonS3Builder::from_env(), bucket, prefix.clone()),
        }
    }
}

impl ArtifactStore {
    /// In a folder of this machine, or of one that all programs see.
    pub fn in_folder(folder: &FilePath) -> Result<Self, ArtifactError> {
        let about = |error: std::io::Error| match ArtifactError::io(&error) {
            ArtifactError::Full(why) => ArtifactError::Full(format!("{}: {why}", folder.display())),
            ArtifactError::Denied(why) => ArtifactError::Denied(format!("{}: {why}", folder.display())),
            _ => ArtifactError::Unavailable(format!("{}: {error}", folder.display())),
        };
        std::fs::create_dir_all(folder).map_err(about)?;
        let folder = folder.canonicalize().map_err(about)?;
        if let Some(parent) = folder.parent() {
            // The folder itself is to be there after a power cut; whoever may not read the one above made it elsewhere.
            let _ = std::fs::File::open(parent).and_then(|parent| parent.sync_all());
        }
        let objects = LocalFileSystem::new_with_prefix(&folder)?.with_fsync(true);
        let name = folder.display().to_string();
        Ok(ArtifactStore(Arc::new(Inner {
            objects: Arc::new(objects),
            prefix: Path::default(),
            folder: Some(folder),
            name,
        })))
    }

    /// In a bucket of an endpoint, with the keys that it asks for.
    pub fn in_bucket(
        endpoint: &str,
        bucket: &str,
        prefix: &str,
        (key, secret): (&str, &str),
    ) -> Result<Self, ArtifactError> {
        let builder = AmazonS3Builder::new()
            .with_endpoint(endpoint)
            .with_region("us-east-1")
            .with_access_key_id(key)
            .with_secret_access_key(secret);
        let prefix = Path::parse(prefix).map_err(|error| ArtifactError::BadUrl(error.to_string()))?;
        s3(builder, bucket, prefix)
    }
}

fn s3(builder: AmazonS3Builder, bucket: &str, prefix: Path) -> Result<ArtifactStore, ArtifactError> {
    let endpoint = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint]
        .iter()
        .find_map(|key| builder.get_config_value(key));
    let plain = endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"));
    let objects = builder
        .with_bucket_name(bucket)
        .with_allow_http(plain)
        .build()
        .map_err(|error| ArtifactError::BadUrl(format!("s3://{bucket}: {error}")))?;
    let name = format!("s3://{bucket}/{prefix}");
    Ok(ArtifactStore::over(Arc::new(objects), prefix, name))
}
