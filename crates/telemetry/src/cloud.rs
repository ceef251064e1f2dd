//! What the cloud's metadata service says of this machine. Never required: whoever does not answer at once is not there.

use reqwest::{Client, RequestBuilder};
use serde_json::Value;
use servelab_schema::{CloudFacts, CloudProvider};
use std::time::Duration;

/// How long one question may take, wall time: the services are one hop away.
const PATIENCE: Duration = Duration::from_millis(300);

/// Longest answer that is believed, in characters.
const LONGEST: usize = 256;

/// Where the metadata services are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudBases {
    /// Google Cloud's.
    pub gcp: String,
    /// AWS's.
    pub aws: String,
    /// Azure's.
    pub azure: String,
}

impl Default for CloudBases {
    /// The link-local address that all three use: no name is looked up and nothing leaves the machine's own link.
    fn default() -> Self {
        let link_local = || "http://169.254.169.254".to_owned();
        Self {
            gcp: link_local(),
            aws: link_local(),
            azure: link_local(),
        }
    }
}

/// Asks the three services one after the other, each at most 300 ms per question, without any proxy; none where no one
/// answers as its documentation says.
pub async fn cloud_facts(bases: &CloudBases) -> Option<CloudFacts> {
    let client = Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(PATIENCE)
        .tls_backend_preconfigured(servelab_tls::trusting_nobody().ok()?)
        .build()
        .ok()?;
    if let Some(found) = gcp(&client, &bases.gcp).await {
        return Some(found);
    }
    if let Some(found) = aws(&client, &bases.aws).await {
        return Some(found);
    }
    azure(&client, &bases.azure).await
}

/// One short line of printable text, or nothing: a page of some other service is no fact.
fn line(text: &str) -> Option<String> {
    let text = text.trim();
    let plain = !text.is_empty() && text.chars().count() <= LONGEST && !text.contains(char::is_control);
    (plain && !text.contains('<')).then(|| text.to_owned())
}

async fn ask(request: RequestBuilder) -> Option<String> {
    let answer = request.send().await.ok()?.error_for_status().ok()?;
    if answer.status().is_redirection() {
        return None;
    }
    answer.text().await.ok()
}

/// <https://cloud.google.com/compute/docs/metadata/predefined-metadata-keys>
async fn gcp(client: &Client, base: &str) -> Option<CloudFacts> {
    const FLAVOR: (&str, &str) = ("Metadata-Flavor", "Google");
    let get = |key: &str| {
        let url = format!("{base}/computeMetadata/v1/instance/{key}");
        client.get(url).header(FLAVOR.0, FLAVOR.1)
    };
    let answer = get("machine-type").send().await.ok()?.error_for_status().ok()?;
    // The service proves itself by repeating the header.
    if answer.headers().get(FLAVOR.0)?.as_bytes() != FLAVOR.1.as_bytes() {
        return None;
    }
    // `projects/NUMBER/machineTypes/NAME`, and zones alike: the project is nobody's business.
    let last = |path: &str| line(path.trim().rsplit('/').next()?);
    Some(CloudFacts {
        provider: CloudProvider::Gcp,
        machine_type: last(&answer.text().await.ok()?)?,
        zone: ask(get("zone")).await.and_then(|path| last(&path)),
        image: ask(get("image")).await.and_then(|text| line(&text)),
    })
}

/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html>, version 2: a token first.
async fn aws(client: &Client, base: &str) -> Option<CloudFacts> {
    let token = client
        .put(format!("{base}/latest/api/token"))
        .header("X-aws-ec2-metadata-token-ttl-seconds", "60");
    let token = line(&ask(token).await?)?;
    let get = |key: &str| {
        let url = format!("{base}/latest/meta-data/{key}");
        ask(client.get(url).header("X-aws-ec2-metadata-token", &token))
    };
    Some(CloudFacts {
        provider: CloudProvider::Aws,
        machine_type: line(&get("instance-type").await?)?,
        zone: get("placement/availability-zone").await.and_then(|text| line(&text)),
        image: get("ami-id").await.and_then(|text| line(&text)),
    })
}

/// <https://learn.microsoft.com/azure/virtual-machines/instance-metadata-service>
async fn azure(client: &Client, base: &str) -> Option<CloudFacts> {
    let url = format!("{base}/metadata/instance/compute?api-version=2021-02-01&format=json");
    let text = ask(client.get(url).header("Metadata", "true")).await?;
    let machine: Value = serde_json::from_str(&text).ok()?;
    let word = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).and_then(line);
    let zone = [word(&machine, "location"), word(&machine, "zone")];
    let image = machine.get("storageProfile").and_then(|s| s.get("imageReference"));
    let image = image.map(|i| ["publisher", "offer", "sku", "version"].map(|key| word(i, key)));
    let join = |parts: &[Option<String>], between: &str| {
        let known: Vec<&str> = parts.iter().flatten().map(String::as_str).collect();
        (!known.is_empty()).then(|| known.join(between))
    };
    Some(CloudFacts {
        provider: CloudProvider::Azure,
        machine_type: word(&machine, "vmSize")?,
        zone: join(&zone, "-"),
        image: image.and_then(|parts| join(&parts, ":")),
    })
}

#[cfg(test)]
mod tests;
