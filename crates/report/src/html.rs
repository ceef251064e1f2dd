//! The page from its view. Templates are checked against the view strictly: a name that is not there is an error.

use crate::{ReportError, view::Page};
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context, value::Serde};

const TEMPLATES: [(&str, &str); 3] = [
    ("page.html.j2", include_str!("../templates/page.html.j2")),
    ("run.html.j2", include_str!("../templates/run.html.j2")),
    ("macros.html.j2", include_str!("../templates/macros.html.j2")),
];

/// The text of `index.html`.
pub(crate) fn page(page: &Page) -> Result<String, ReportError> {
    let mut env = Environment::new();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.set_auto_escape_callback(|_| AutoEscape::Html);
    for (name, source) in TEMPLATES {
        env.add_template(name, source)?;
    }
    let page = Value::from(Serde(page));
    let style = include_str!("../assets/style.css");
    let script = include_str!("../assets/page.js");
    Ok(env
        .get_template("page.html.j2")?
        .render(context! { page, style, script })?)
}
