// Starts the viewer of the API's document (Swagger UI), in the colours that the browser prefers.
"use strict";

const dark = matchMedia("(prefers-color-scheme: dark)");
const followColours = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", followColours);
followColours();

const place = document.getElementById("viewer");
const { document: address, apiKey } = place.dataset;
const ui = SwaggerUIBundle({
  url: address,
  domNode: place,
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: -1,
  tryItOutEnabled: true,
  validatorUrl: null,
  onComplete: () => {
    if (apiKey.startsWith("img_live_")) ui.preauthorizeApiKey("apiKey", apiKey);
  },
});
