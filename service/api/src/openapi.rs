use std::any::TypeId;
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

use crate::content::Octets;
use crate::endpoint::{Access, Endpoint, Query};
use crate::problem::Problem;
use crate::routes;

/// The OpenAPI document of the API, indented, as it stands in `docs/openapi.json`.
pub fn document() -> String {
    let mut document = Document::default();
    document.schema::<Problem>();
    routes::document_all(&mut document);
    let whole = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Bellwether",
            "version": "1",
            "description": "The API of the control server. Times are milliseconds since 1970. Unknown fields are refused.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" }
        },
        "paths": document.paths,
        "components": {
            "schemas": document.schemas,
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer" },
                "certificate": { "type": "mutualTLS" }
            }
        }
    });
    let text = serde_json::to_string_pretty(&whole).expect("it has text keys and finite numbers");
    text + "\n"
}

/// The document in the making.
#[derive(Debug, Default)]
pub(crate) struct Document {
    paths: BTreeMap<String, Map<String, Value>>,
    schemas: BTreeMap<String, Value>,
}

impl Document {
    pub(crate) fn add<E: Endpoint>(&mut self) {
        let mut parameters: Vec<Value> = E::Query::parameters().iter().map(to_value).collect();
        if let Some((_, rest)) = E::PATH.split_once('{') {
            let name = rest.split('}').next().unwrap_or_default();
            parameters.insert(
                0,
                json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string", "maxLength": 64 } }),
            );
        }
        let mut operation = json!({
            "operationId": E::NAME,
            "summary": E::SUMMARY,
            "x-access": E::ACCESS.to_string(),
            "security": match E::ACCESS {
                Access::Anyone => json!([]),
                Access::AtLeast(_) => json!([{ "token": [] }]),
                Access::Node => json!([{ "certificate": [] }]),
            },
            "responses": {
                E::STATUS.to_string(): self.response::<E::Reply>("Done."),
                "default": self.response::<Problem>("It was not done, and this is why."),
            }
        });
        if !parameters.is_empty() {
            operation["parameters"] = parameters.into();
        }
        if let Some(content) = self.content::<E::Body>() {
            operation["requestBody"] = json!({ "required": true, "content": content });
        }
        let methods = self.paths.entry(E::PATH.to_owned()).or_default();
        methods.insert(E::METHOD.as_str().to_lowercase(), operation);
    }

    fn response<T: ToSchema + 'static>(&mut self, description: &str) -> Value {
        match self.content::<T>() {
            None => json!({ "description": description }),
            Some(content) => json!({ "description": description, "content": content }),
        }
    }

    fn content<T: ToSchema + 'static>(&mut self) -> Option<Value> {
        if TypeId::of::<T>() == TypeId::of::<()>() {
            return None;
        }
        if TypeId::of::<T>() == TypeId::of::<Octets>() {
            return Some(json!({ "application/octet-stream": {} }));
        }
        self.schema::<T>();
        let reference = format!("#/components/schemas/{}", T::name());
        Some(json!({ "application/json": { "schema": { "$ref": reference } } }))
    }

    fn schema<T: ToSchema>(&mut self) {
        let mut used: Vec<(String, RefOr<Schema>)> = vec![(T::name().into_owned(), T::schema())];
        T::schemas(&mut used);
        for (name, schema) in used {
            self.schemas.insert(name, to_value(&schema));
        }
    }
}

fn to_value<T: serde::Serialize>(value: &T) -> Value {
    serde_json::to_value(value).expect("it has text keys and finite numbers")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_document_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
        let document = document();
        if std::env::var_os("BELLWETHER_BLESS").is_some() {
            std::fs::write(path, &document).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            committed == document,
            "docs/openapi.json is another one; BELLWETHER_BLESS=1 writes it anew"
        );
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document: Value = serde_json::from_str(&document()).unwrap();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let text = document.to_string();
        let references = text.split("\"#/components/schemas/").skip(1);
        for name in references.map(|rest| rest.split('"').next().unwrap()) {
            assert!(schemas.contains_key(name), "{name}");
        }
        assert!(schemas.len() > 10);
    }
}
