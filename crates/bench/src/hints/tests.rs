use super::*;
use servelab_engine::redact::Secrets;

const NGINX: &str = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n\
                     <hr><center>nginx/1.22.1</center>\r\n</body>\r\n</html>\r\n";

/// Words that a hint must hold: of what happened, and of the remedy.
type Parts<'a> = (&'a [&'a str], &'a [&'a str]);

fn check(found: &Hint, (said, remedy): Parts<'_>) {
    for part in said {
        assert!(found.said.contains(part), "no {part:?} in {found:?}");
    }
    for part in remedy {
        assert!(found.remedy.contains(part), "no {part:?} in {found:?}");
    }
}

fn page(status: u16, body: &str) -> Page {
    Page {
        status,
        body: body.to_owned(),
    }
}

fn asked<'a>(clean: &'a Clean, served: &'a [String]) -> Asked<'a> {
    Asked {
        url: "http://h:1/llm",
        prefix: "/llm",
        endpoint: "/v1/chat/completions",
        key_env: None,
        model: "wanted",
        served,
        clean,
    }
}

#[test]
fn no_answer_at_all() {
    let clean = Clean::default();
    let https = Asked {
        url: "https://h:1",
        ..asked(&clean, &[])
    };
    let plain = asked(&clean, &[]);
    let table: [(Asked<'_>, Reason, &str, &str); 10] = [
        (
            plain,
            Reason::Connect,
            "Connection refused (os error 111)",
            "nothing listens there",
        ),
        (plain, Reason::Connect, "no connection within 5s", "firewall"),
        (https, Reason::Connect, "no connection within 5s", "write http://"),
        (plain, Reason::TtftTimeout, "nothing within 5s", "loaded its model"),
        (
            plain,
            Reason::Malformed,
            "no HTTP/1.1 response: invalid token",
            "write https://",
        ),
        (
            https,
            Reason::Tls,
            "invalid peer certificate: UnknownIssuer",
            "SSL_CERT_FILE",
        ),
        (
            https,
            Reason::Tls,
            "invalid peer certificate: Other(CaUsedAsEndEntity)",
            "CA:FALSE",
        ),
        (
            https,
            Reason::Tls,
            "received corrupt message of type InvalidContentType",
            "write http://",
        ),
        (
            https,
            Reason::Tls,
            "invalid peer certificate: certificate expired",
            "clock",
        ),
        (
            https,
            Reason::Malformed,
            "no HTTP/1.1 response: invalid token",
            "check the port",
        ),
    ];
    for (asked, reason, why, remedy) in table {
        check(&unreachable(asked, reason, why), (&[why], &[remedy]));
    }
}

#[test]
fn pages_that_list_no_model() {
    let clean = Clean::default();
    let plain = asked(&clean, &[]);
    let table: [(u16, &str, Parts<'_>); 10] = [
        (
            401,
            r#"{"error":{"message":"Incorrect API key"}}"#,
            (&["HTTP 401: Incorrect API key"], &["--api-key-env"]),
        ),
        (403, "", (&["HTTP 403"], &["--api-key-env"])),
        (
            502,
            NGINX,
            (&["a web page, \"502 Bad Gateway\""], &["proxy", "engine behind it"]),
        ),
        (
            503,
            r#"{"error":{"message":"Loading model"}}"#,
            (&["Loading model"], &["wait"]),
        ),
        (
            400,
            "Client sent an HTTP request to an HTTPS server.\n",
            (&["HTTPS server"], &["write https://"]),
        ),
        (307, "", (&["HTTP 307"], &["redirect"])),
        (
            200,
            "<!DOCTYPE html><html><head><title> Open\nWebUI </title>",
            (&["\"Open WebUI\""], &["URL of the API"]),
        ),
        (
            404,
            r#"{"detail":"Not Found"}"#,
            (&["404: Not Found"], &["try --url http://h:1", "--model"]),
        ),
        (
            200,
            r#"{"object":"list","data":[]}"#,
            (&["HTTP 200"], &["load one", "--model"]),
        ),
        (500, "Internal Server Error", (&["HTTP 500: Internal"], &["--model"])),
    ];
    for (status, body, parts) in table {
        check(&no_models(plain, &page(status, body)), parts);
    }
    let root = Asked {
        url: "http://h:1",
        prefix: "",
        ..plain
    };
    check(&no_models(root, &page(404, "")), (&[], &["http://h:1/PATH"]));
    let keyed = Asked {
        key_env: Some("LLM_KEY"),
        ..plain
    };
    check(&no_models(keyed, &page(401, "")), (&[], &["key in `LLM_KEY`"]));
}

#[test]
fn completions_that_are_refused() {
    use NegotiateError as E;
    let clean = Clean::default();
    let served = ["a".to_owned(), "b".to_owned()];
    let wanted = ["wanted".to_owned()];
    let said = |text: &str| text.to_owned();
    let unknown = E::UnknownModel {
        model: said("wanted"),
        said: said("The model `wanted` does not exist."),
    };
    let pinned = E::Refused {
        status: 400,
        said: said("Server is pinned to 'a'"),
    };
    let nothing = || E::NoEndpoint {
        status: 404,
        said: said("Not Found"),
    };
    let page = |status, title: &str| E::WebPage {
        status,
        title: said(title),
    };
    let failed = |status| E::ServerFailed {
        status,
        said: said("CB worker is dead"),
    };
    let table: [(&[String], NegotiateError, Parts<'_>); 13] = [
        (&served, unknown, (&["does not exist"], &["--model: a, b"])),
        (&served, pinned, (&["pinned to 'a'"], &["--model: a, b"])),
        (
            &wanted,
            nothing(),
            (&["HTTP 404: Not Found"], &["--endpoint completions"]),
        ),
        (&[], nothing(), (&[], &["check the path `/llm`"])),
        (
            &wanted,
            page(504, "504 Gateway Time-out"),
            (&["504 Gateway"], &["proxy", "engine behind it"]),
        ),
        (&wanted, page(200, "Open WebUI"), (&["Open WebUI"], &["URL of the API"])),
        (&wanted, failed(500), (&["CB worker is dead"], &["its log"])),
        (&wanted, failed(503), (&[], &["wait"])),
        (&wanted, E::Redirect { status: 307 }, (&["HTTP 307"], &["redirects"])),
        (&wanted, E::NoEnd, (&["without [DONE]"], &["curl -N"])),
        (&wanted, E::RateLimited { said: said("slow") }, (&["slow"], &["wait"])),
        (
            &wanted,
            E::Unauthorized {
                status: 401,
                said: said("no key"),
            },
            (&["no key"], &["--api-key-env"]),
        ),
        (
            &wanted,
            E::Refused {
                status: 422,
                said: said("x"),
            },
            (&["HTTP 422: x"], &["--extra-body"]),
        ),
    ];
    for (served, error, parts) in table {
        check(&no_completion(asked(&clean, served), &error), parts);
    }
}

#[test]
fn words_are_cleaned_and_short() {
    let clean = Clean::of(Secrets::default().and("s3cret-of-some-length"));
    let body = format!("\u{1b}[31mno s3cret-of-some-length {}", "x".repeat(1000));
    let found = no_models(asked(&clean, &[]), &page(500, &body));
    assert!(
        found.said.contains("[redacted]") && !found.said.contains('\u{1b}'),
        "{found:?}"
    );
    assert!(found.said.chars().count() < 400, "{found:?}");
}
