// Starts the viewer of the API's document (Swagger UI), in the colours that the browser prefers.

import { kept } from "./kept_key.js";

const dark = matchMedia("(prefers-color-scheme: dark)");
const followColours = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", followColours);
followColours();

const place = document.getElementById("viewer");
const { document: address, csrfToken } = place.dataset;
const ui = SwaggerUIBundle({
  url: address,
  domNode: place,
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: -1,
  tryItOutEnabled: true,
  validatorUrl: null,
  requestInterceptor: (request) => {
    const isOurs = new URL(request.url, location).origin === location.origin;
    if (csrfToken && isOurs && !request.headers.Authorization) {
      // Not among the headers: the viewer shows those as a command to copy, which is sent with a key and not with this.
      const withToken = (options) => ({ ...options, headers: { ...options.headers, "X-CSRF-Token": csrfToken } });
      request.userFetch = (url, options) => fetch(url, withToken(options));
      if (request.url.includes("/v1/")) request.curlOptions = ['-H "Authorization: Bearer YOUR_API_KEY"'];
    }
    return request;
  },
  onComplete: () => {
    if (!csrfToken && kept()) ui.preauthorizeApiKey("apiKey", kept());
  },
});
