// Swagger UI over the API's own description; nothing comes from another host.
SwaggerUIBundle({ url: `${document.body.dataset.root}/openapi.json`, dom_id: "#docs", deepLinking: true, validatorUrl: null });
