// Swagger UI. The list of schemas is closed at first: each is shown where it is used.

SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  onComplete: () => {
    // A link in a button is not operable with a keyboard: the button itself opens the operation.
    for (const link of document.querySelectorAll("button a.nostyle")) link.removeAttribute("href");
    for (const heading of document.querySelectorAll("h3.opblock-tag, .models h4")) heading.ariaLevel = "2";
  },
});
