//! A little of S3, in this process: enough for the calls that the artifact store makes, and strict about who calls.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;

/// The only key that is let in, and its secret.
pub const KEY: (&str, &str) = ("AKIDTEST", "a secret for tests");
pub const BUCKET: &str = "artifacts";

type Object = (Vec<u8>, chrono::DateTime<chrono::Utc>);

#[derive(Default)]
struct Inner {
    objects: BTreeMap<String, Object>,
    uploads: BTreeMap<String, BTreeMap<u32, Vec<u8>>>,
    next_upload: u32,
}

/// Ends with the test's runtime.
#[derive(Clone, Default)]
pub struct S3(Arc<Mutex<Inner>>);

impl S3 {
    /// Starts it; answers where it listens.
    pub async fn start() -> (Self, String) {
        let s3 = S3::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let router = Router::new().fallback(answer).layer(DefaultBodyLimit::disable()).with_state(s3.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (s3, format!("http://{address}"))
    }

    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn overwrite(&self, key: &str, bytes: Option<Vec<u8>>) {
        match bytes {
            Some(bytes) => self.inner().objects.insert(key.to_owned(), (bytes, chrono::Utc::now())),
            None => self.inner().objects.remove(key),
        };
    }

    pub fn read(&self, key: &str) -> Vec<u8> {
        self.inner().objects.get(key).map(|object| object.0.clone()).unwrap_or_default()
    }
}

fn xml(text: String) -> Response {
    ([(header::CONTENT_TYPE, "application/xml")], format!("<?xml version=\"1.0\"?>{text}")).into_response()
}

fn refused(status: StatusCode, code: &str) -> Response {
    (status, format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>no</Message></Error>")).into_response()
}

async fn answer(State(s3): State<S3>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let signed = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !signed.starts_with(&format!("AWS4-HMAC-SHA256 Credential={}/", KEY.0)) {
        return refused(StatusCode::FORBIDDEN, "AccessDenied");
    }
    let path = uri.path().trim_start_matches('/');
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    if bucket != BUCKET {
        return refused(StatusCode::NOT_FOUND, "NoSuchBucket");
    }
    let query: BTreeMap<String, String> = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (name.to_owned(), value.replace("%2F", "/")))
        .collect();
    let mut inner = s3.inner();
    match (method, key) {
        (Method::GET, "") => {
            let prefix = query.get("prefix").cloned().unwrap_or_default();
            let found = inner.objects.iter().filter(|(key, _)| key.starts_with(&prefix)).map(|(key, (bytes, at))| {
                let (at, size) = (at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true), bytes.len());
                format!("<Contents><Key>{key}</Key><LastModified>{at}</LastModified><ETag>x</ETag><Size>{size}</Size></Contents>")
            });
            let found: String = found.collect();
            xml(format!("<ListBucketResult><IsTruncated>false</IsTruncated>{found}</ListBucketResult>"))
        }
        (Method::POST, "") if query.contains_key("delete") => {
            let text = String::from_utf8_lossy(&body).into_owned();
            let mut deleted = String::new();
            for part in text.split("<Key>").skip(1) {
                let key = part.split("</Key>").next().unwrap_or_default();
                inner.objects.remove(key);
                deleted.push_str(&format!("<Deleted><Key>{key}</Key></Deleted>"));
            }
            xml(format!("<DeleteResult>{deleted}</DeleteResult>"))
        }
        (Method::POST, key) if query.contains_key("uploads") => {
            inner.next_upload += 1;
            let id = inner.next_upload.to_string();
            inner.uploads.insert(id.clone(), BTreeMap::new());
            xml(format!(
                "<InitiateMultipartUploadResult><Bucket>{BUCKET}</Bucket><Key>{key}</Key><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
            ))
        }
        (Method::PUT, key) => {
            match (query.get("uploadId"), query.get("partNumber").and_then(|number| number.parse().ok())) {
                (Some(id), Some(number)) => match inner.uploads.get_mut(id) {
                    Some(parts) => {
                        parts.insert(number, body.to_vec());
                    }
                    None => return refused(StatusCode::NOT_FOUND, "NoSuchUpload"),
                },
                _ => {
                    inner.objects.insert(key.to_owned(), (body.to_vec(), chrono::Utc::now()));
                }
            }
            [(header::ETAG, "\"x\"")].into_response()
        }
        (Method::POST, key) => {
            let Some(parts) = query.get("uploadId").and_then(|id| inner.uploads.remove(id)) else {
                return refused(StatusCode::NOT_FOUND, "NoSuchUpload");
            };
            let whole = parts.into_values().flatten().collect();
            inner.objects.insert(key.to_owned(), (whole, chrono::Utc::now()));
            xml("<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>".to_owned())
        }
        (Method::DELETE, key) => {
            match query.get("uploadId") {
                Some(id) => drop(inner.uploads.remove(id)),
                None => drop(inner.objects.remove(key)),
            }
            StatusCode::NO_CONTENT.into_response()
        }
        (Method::GET | Method::HEAD, key) => match inner.objects.get(key) {
            Some((bytes, at)) => {
                let at = at.format("%a, %d %b %Y %H:%M:%S GMT").to_string();
                ([(header::ETAG, "\"x\"".to_owned()), (header::LAST_MODIFIED, at)], bytes.clone()).into_response()
            }
            None => refused(StatusCode::NOT_FOUND, "NoSuchKey"),
        },
        _ => refused(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
    }
}
