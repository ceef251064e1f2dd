//! A run on a machine with a GPU: the driver's library is the scripted one, the engine a simulator that poses as a real one.

use crate::{
    engines::{Sim, disguised},
    support::{Project, telemetry, trials},
};
use servelab_findings::{Prompts, Reducer, evaluate};
use servelab_runner::{NoProgress, RunOptions, StopFlag, execute};
use servelab_schema::{
    Bytes, CloudProvider, EngineKind, GpuFacts, Plan, Provider, RequestId, RunEnd, RunId, TelemetrySample,
    ThrottleReason, Trace, TrialInstant, TrialRecord, Window, Wish, examples, findings::TrialGpus,
};
use servelab_telemetry::{CloudBases, GpuProbe};
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    thread,
};

const ARMS: &str = "[load]\nconcurrency = 4\n[[variant]]\nid = \"C1\"\nrole = \"baseline\"\nhypothesis = \"x\"\n";

/// A GPU that is busy all the time, and one that tells nothing but its name.
const TWO: &str = "gpu\n0 name=NVIDIA_L4 uuid=GPU-1 total=24000000000 used=21000000000 power=70000 throttle=4 temperature=71\n\
                  gpu\n0 name=NVIDIA_L4 uuid=GPU-2\n";

/// A plan for an engine that is up: the simulator behind a proxy that hides what it is, as a run refuses it otherwise.
fn plan(project: &Project, sim: &Sim) -> Plan {
    project.matrix("gpu", &[], "blocks = 1", ARMS);
    let overrides = servelab_matrix::Overrides::default();
    let mut plan = servelab_matrix::resolve(&project.path(""), Path::new("matrix/gpu.toml"), &overrides).unwrap();
    plan.engine.provider = Provider::Url {
        cache_salt: true,
        accept_unknown_cache: true,
        base: format!("http://127.0.0.1:{}", disguised(sim.port)),
        others: std::collections::BTreeMap::new(),
        simulated: false,
        asked_at_most: servelab_schema::Capabilities::FULL,
    };
    plan.engine_kind = EngineKind::Measured;
    plan
}

/// The scripted library in a folder of its own.
fn library(folder: &Path, script: &str) -> PathBuf {
    let built = std::env::current_exe().unwrap();
    let built = built.parent().unwrap().join("libservelab_nvml_stub.so");
    let library = folder.join("libnvidia-ml.so.1");
    fs::copy(built, &library).unwrap();
    fs::write(folder.join("gpu.script"), script).unwrap();
    library
}

/// What findings say of the GPUs, of one trial.
fn used(facts: &[GpuFacts], held: Window, samples: Vec<TelemetrySample>, traces: &[Trace]) -> TrialGpus {
    let plan = examples::plan();
    let prompts = Prompts::of(&plan);
    let record = TrialRecord {
        held: Some(held),
        ..examples::trial_record()
    };
    let mut reducer = Reducer::new(&prompts, plan.slo, facts, record, examples::engine_record(), samples);
    traces.iter().for_each(|trace| reducer.add(trace, None));
    let run = RunId::new("r1").unwrap();
    let findings = evaluate(
        &plan,
        &examples::environment(),
        (&run, &RunEnd::Complete),
        vec![reducer.finish()],
    );
    findings.trials.into_iter().next().unwrap().gpus.unwrap()
}

#[test]
fn a_throttle_of_ten_seconds_tags_exactly_its_requests() {
    let folder = tempfile::tempdir().unwrap();
    let script = "gpu\n0 power=60000 throttle=0\n10000 throttle=64\n20000 throttle=0\n";
    let probe = GpuProbe::open(Some(&library(folder.path(), script))).unwrap();
    let sample = |half_seconds: u64| {
        let now = half_seconds * 500;
        fs::write(folder.path().join("gpu.now"), now.to_string()).unwrap();
        TelemetrySample {
            t_ns: TrialInstant::from_millis(now),
            gpus: probe.sample(),
            ..examples::telemetry()
        }
    };
    let samples: Vec<TelemetrySample> = (0..=60).map(sample).collect();
    // A request of 800 ms every 400 ms, so that some straddle each edge.
    let request = |n: u64| Trace {
        request_id: RequestId::new(format!("r{n}")).unwrap(),
        sent_ns: Some(TrialInstant::from_millis(n * 400)),
        finished_ns: TrialInstant::from_millis(n * 400 + 800),
        ..examples::trace()
    };
    let traces: Vec<Trace> = (0..74).map(request).collect();
    let held = Window {
        start_ns: TrialInstant::START,
        end_ns: TrialInstant::from_secs(30),
    };
    let used = used(&probe.facts(), held, samples, &traces);
    let [spell] = used.gpus[0].throttled.as_slice() else {
        panic!("{:?}", used.gpus)
    };
    assert_eq!(
        spell.reasons.iter().collect::<Vec<_>>(),
        [&ThrottleReason::HwThermalSlowdown]
    );
    assert_eq!(spell.window.start_ns, TrialInstant::from_secs(10));
    assert_eq!(spell.window.end_ns, TrialInstant::from_secs(20));
    // Sent before 20 s and finished after 10 s: 9.6 s is the first, 9.2 s ends at the very edge; 19.6 s is the last.
    let tagged: Vec<String> = used.throttled_requests.iter().map(ToString::to_string).collect();
    let expected: Vec<String> = (24..50).map(|n| format!("r{n}")).collect();
    assert_eq!(tagged, expected);
    let joules = used.gpus[0].trapezoid_joules.unwrap();
    assert!((joules - 1800.0).abs() < 1e-6, "60 W for 30 s are not {joules} J");
}

/// A metadata service that answers everything with `g2-standard-8` and Google's header.
fn metadata() -> String {
    metadata_that(|| ())
}

/// The same, which does something whenever it is asked.
fn metadata_that(asked: impl Fn() + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            asked();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let head = lines.map_while(Result::ok).take_while(|line| !line.is_empty());
            head.for_each(drop);
            let answer = "HTTP/1.1 200 OK\r\nMetadata-Flavor: Google\r\ncontent-length: 13\r\nconnection: close\r\n\r\ng2-standard-8";
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    base
}

fn run(project: &Project, plan: &Plan, id: &str, nvml: PathBuf) {
    run_with(project, plan, id, nvml, metadata());
}

fn run_with(project: &Project, plan: &Plan, id: &str, nvml: PathBuf, base: String) {
    let options = RunOptions {
        run_id: Some(RunId::new(id).unwrap()),
        nvml: Some(nvml),
        cloud: CloudBases {
            gcp: base.clone(),
            aws: base.clone(),
            azure: base,
        },
        ..RunOptions::new(
            project.path(""),
            project.path("runs"),
            env!("CARGO_BIN_EXE_servelab").into(),
        )
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let outcome = runtime.block_on(execute(
        plan,
        &Wish::default(),
        &options,
        &StopFlag::default(),
        &NoProgress,
    ));
    assert_eq!(outcome.unwrap().findings.brief.valid, 1);
}

#[test]
fn a_measured_run_reads_the_gpus_and_the_cloud() {
    let project = Project::new(1, 12);
    let sim = Sim::start(&project);
    let plan = plan(&project, &sim);
    run(&project, &plan, "gpu", library(&project.path(""), TWO));
    let sealed = project.run("gpu");
    let environment = sealed.environment().unwrap();
    assert_eq!(environment.gpu_note, None);
    let uuids: Vec<_> = environment.gpus.iter().filter_map(|g| g.uuid.as_deref()).collect();
    assert_eq!(uuids, ["GPU-1", "GPU-2"]);
    assert_eq!(environment.gpus[1].memory_total_bytes, None, "it does not tell");
    let cloud = environment.cloud.unwrap();
    assert_eq!(
        (cloud.provider, cloud.machine_type.as_str()),
        (CloudProvider::Gcp, "g2-standard-8")
    );
    let model = environment.model.unwrap();
    assert_eq!(model.tokenizer_sha256, plan.prompts.tokenizer_sha256);
    assert!(environment.env_names.iter().any(|name| name == "PATH"));

    let (trial, _) = trials(&sealed).remove(0);
    let samples = telemetry(&sealed, &trial.id);
    assert!(!samples.is_empty());
    for sample in &samples {
        let [first, second] = sample.gpus.as_slice() else {
            panic!("{sample:?}")
        };
        assert_eq!(first.memory_used_bytes, Some(Bytes(21_000_000_000)));
        assert_eq!(first.throttle, Some(vec![ThrottleReason::SwPowerCap]));
        assert_eq!((second.index, second.power_milliwatts), (1, None), "unknown, not 0");
    }
    let used = trial.gpus.unwrap();
    assert_eq!((used.gpus.len(), used.requests), (2, 12));
    assert_eq!(used.gpus[0].headroom_bytes, Some(3_000_000_000));
    project.servelab(&["ingest"]).exits(0);
    project.servelab(&["report", "gpu"]).exits(0);
    let page = fs::read_to_string(project.path("report/out/index.html")).unwrap();
    assert!(page.contains("What did it take of the GPUs?") && page.contains("Google Cloud, g2-standard-8"));
}

#[test]
fn a_driver_that_hangs_does_not_hang_the_run() {
    let project = Project::new(1, 6);
    let sim = Sim::start(&project);
    let plan = plan(&project, &sim);
    // Whoever opens it sets the clock to where it hangs.
    let script = "gpu\n0 name=NVIDIA_L4 power=70000\n1000 hang=1\n";
    let nvml = library(&project.path(""), script);
    fs::write(project.path("gpu.now"), "1000").unwrap();
    run(&project, &plan, "stuck", nvml.clone());
    let note = project.run("stuck").environment().unwrap().gpu_note.unwrap();
    assert!(note.contains("did not answer within 5 s"), "{note}");

    fs::write(project.path("gpu.now"), "0").unwrap();
    let now = project.path("gpu.now");
    // The metadata service is asked once, after the GPUs were opened: from then on the driver hangs.
    let base = metadata_that(move || fs::write(&now, "1000").unwrap());
    run_with(&project, &plan, "later", nvml, base);
    let sealed = project.run("later");
    let environment = sealed.environment().unwrap();
    assert_eq!((environment.gpus.len(), environment.gpu_note), (1, None));
    let (record, _) = trials(&sealed).remove(0);
    let samples = telemetry(&sealed, &record.id);
    assert!(samples.iter().all(|s| s.gpus.is_empty()), "no row of zeros");
    let notes: Vec<&String> = samples.iter().filter_map(|s| s.gpu_note.as_ref()).collect();
    let [note] = notes.as_slice() else {
        panic!("said once: {notes:?}")
    };
    assert!(note.contains("not asked again in this run"), "{note}");
}

#[test]
fn a_measured_run_without_a_driver_says_so() {
    let project = Project::new(1, 6);
    let sim = Sim::start(&project);
    let plan = plan(&project, &sim);
    run(&project, &plan, "bare", project.path("no-such-library.so"));
    let sealed = project.run("bare");
    let environment = sealed.environment().unwrap();
    let note = environment.gpu_note.unwrap();
    assert!(
        environment.gpus.is_empty() && note.contains("no NVIDIA driver"),
        "{note}"
    );
    for (record, _) in trials(&sealed) {
        let samples = telemetry(&sealed, &record.id);
        assert!(samples.iter().all(|s| s.gpus.is_empty()), "no row of zeros");
    }
}

#[test]
fn a_simulated_run_asks_neither_gpu_nor_cloud() {
    let project = Project::new(1, 3);
    project.matrix("sim", &[], "blocks = 1", ARMS);
    project
        .servelab(&["run", "matrix/sim.toml", "--run-id", "sim"])
        .exits(0);
    let environment = project.run("sim").environment().unwrap();
    assert!(environment.gpus.is_empty() && environment.cloud.is_none());
    assert!(environment.gpu_note.unwrap().contains("simulated"));
}
