const encode=(buffer)=>
buffer&&
btoa(String.fromCharCode(...new Uint8Array(buffer)))
.replace(/[+]/g, "-")
.replace(/[/]/g, "_")
.replace(/=/g, "");const bytes=(text)=>
Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));const decode = (name, value) => (/^(challenge|id)$/.test(name) ? bytes(value) : value);export async function usePasskey(options,signal){const publicKey=JSON.parse(JSON.stringify(options),decode);const{id,type,response:given}=await navigator.credentials.get({publicKey,signal});const response={};for(const name of ["clientDataJSON","authenticatorData","signature","userHandle"]){response[name]=encode(given[name]);}
return{id,rawId:id,type,response,clientExtensionResults:{}};}
