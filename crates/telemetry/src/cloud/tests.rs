//! The metadata services as local stubs that answer one request per connection.

use super::*;
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    sync::{Arc, Mutex},
    thread,
};

/// A stub: `METHOD path` → (headers it insists on, headers of the answer, body). Anything else is a 404.
type Routes = BTreeMap<&'static str, (Vec<&'static str>, &'static str, &'static str)>;

struct Stub {
    base: String,
    asked: Arc<Mutex<Vec<String>>>,
}

fn stub(routes: Routes) -> Stub {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let Some(Ok(first)) = lines.next() else { continue };
            let request = first.rsplit_once(' ').unwrap().0.to_owned();
            let headers: Vec<String> = lines
                .map_while(Result::ok)
                .take_while(|l| !l.is_empty())
                .map(|l| l.to_ascii_lowercase())
                .collect();
            let answer = routes
                .get(request.as_str())
                .filter(|(wanted, ..)| wanted.iter().all(|w| headers.contains(&w.to_ascii_lowercase())));
            seen.lock().unwrap().push(request);
            let (status, extra, body) = answer.map_or(("404 Not Found", "", "no"), |(_, extra, body)| {
                ("200 OK", *extra, *body)
            });
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 {status}\r\n{extra}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
            )
            .unwrap();
        }
    });
    Stub { base, asked }
}

fn ask_all(gcp: &Stub, aws: &Stub, azure: &Stub) -> Option<CloudFacts> {
    let bases = CloudBases {
        gcp: gcp.base.clone(),
        aws: aws.base.clone(),
        azure: azure.base.clone(),
    };
    run(&bases)
}

fn run(bases: &CloudBases) -> Option<CloudFacts> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(cloud_facts(bases))
}

fn nobody() -> Stub {
    stub(Routes::new())
}

#[test]
fn google_cloud() {
    let flavor = vec!["Metadata-Flavor: Google"];
    let proof = "Metadata-Flavor: Google\r\n";
    let at = |body| (flavor.clone(), proof, body);
    let gcp = stub(Routes::from([
        (
            "GET /computeMetadata/v1/instance/machine-type",
            at("projects/12345/machineTypes/g2-standard-8"),
        ),
        (
            "GET /computeMetadata/v1/instance/zone",
            at("projects/12345/zones/europe-west4-a"),
        ),
        (
            "GET /computeMetadata/v1/instance/image",
            at("projects/debian-cloud/global/images/debian-12"),
        ),
    ]));
    let (aws, azure) = (nobody(), nobody());
    let found = ask_all(&gcp, &aws, &azure).unwrap();
    assert_eq!(found.provider, CloudProvider::Gcp);
    assert_eq!(found.machine_type, "g2-standard-8", "without the project's number");
    assert_eq!(found.zone.as_deref(), Some("europe-west4-a"));
    assert_eq!(
        found.image.as_deref(),
        Some("projects/debian-cloud/global/images/debian-12")
    );
    assert!(aws.asked.lock().unwrap().is_empty(), "the first to answer is believed");
}

#[test]
fn aws_wants_its_token() {
    let token = vec!["X-aws-ec2-metadata-token: t0ken"];
    let aws = stub(Routes::from([
        (
            "PUT /latest/api/token",
            (vec!["X-aws-ec2-metadata-token-ttl-seconds: 60"], "", "t0ken"),
        ),
        ("GET /latest/meta-data/instance-type", (token.clone(), "", "g6.2xlarge")),
        (
            "GET /latest/meta-data/placement/availability-zone",
            (token.clone(), "", "eu-central-1b"),
        ),
    ]));
    let found = ask_all(&nobody(), &aws, &nobody()).unwrap();
    assert_eq!(found.provider, CloudProvider::Aws);
    assert_eq!(found.machine_type, "g6.2xlarge");
    assert_eq!(found.zone.as_deref(), Some("eu-central-1b"));
    assert_eq!(found.image, None, "absent stays absent");
}

#[test]
fn azure_answers_in_json() {
    let json = r#"{"vmSize":"Standard_NC4as_T4_v3","location":"westeurope","zone":"1","osType":"Linux",
        "storageProfile":{"imageReference":{"publisher":"Canonical","offer":"ubuntu","sku":"22_04","version":"latest"}}}"#;
    let azure = stub(Routes::from([(
        "GET /metadata/instance/compute?api-version=2021-02-01&format=json",
        (vec!["Metadata: true"], "", json),
    )]));
    let found = ask_all(&nobody(), &nobody(), &azure).unwrap();
    assert_eq!(found.provider, CloudProvider::Azure);
    assert_eq!(found.machine_type, "Standard_NC4as_T4_v3");
    assert_eq!(found.zone.as_deref(), Some("westeurope-1"));
    assert_eq!(found.image.as_deref(), Some("Canonical:ubuntu:22_04:latest"));
}

#[test]
fn some_other_server_is_no_cloud() {
    // It answers every question of all three clouds, but not as they would.
    let page = || (vec![], "", "<html>welcome</html>");
    let routes = || {
        Routes::from([
            ("GET /computeMetadata/v1/instance/machine-type", page()),
            ("PUT /latest/api/token", page()),
            (
                "GET /metadata/instance/compute?api-version=2021-02-01&format=json",
                page(),
            ),
        ])
    };
    let (a, b, c) = (stub(routes()), stub(routes()), stub(routes()));
    assert_eq!(ask_all(&a, &b, &c), None);
    assert_eq!(c.asked.lock().unwrap().len(), 1, "all were asked");
}

#[test]
fn nobody_at_home() {
    // A port of the system that nobody serves: refused at once. Bound and never answered: given up on.
    let refused = "http://127.0.0.1:1".to_owned();
    let deaf = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}", deaf.local_addr().unwrap());
    let bases = CloudBases {
        gcp: refused.clone(),
        aws: silent,
        azure: refused,
    };
    assert_eq!(run(&bases), None);
}
