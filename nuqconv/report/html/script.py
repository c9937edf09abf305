"""What the page does when one points at pictures and clicks on headings; it is complete without."""

from __future__ import annotations

__all__ = ["SCRIPT"]

SCRIPT = """
(function(){var d=document,tip=d.createElement('div'),at=null,text='';tip.id='tip';tip.hidden=true;d.body.appendChild(tip);
function leave(){if(at){at.textContent=text;at=null;tip.hidden=true}}
d.addEventListener('pointermove',function(e){var n=e.target,t=null;
while(n&&n.closest&&n.closest('svg')){t=n.querySelector(':scope>title');if(t||n.tagName=='svg')break;n=n.parentNode}
if(t!==at){leave();if(t&&t.textContent){at=t;text=t.textContent;t.textContent='';tip.textContent=text;tip.hidden=false}}
if(at){var x=Math.min(e.clientX+14,innerWidth-tip.offsetWidth-8),y=e.clientY+18;
if(y+tip.offsetHeight>innerHeight)y=e.clientY-tip.offsetHeight-10;tip.style.left=Math.max(8,x)+'px';tip.style.top=y+'px'}});
d.addEventListener('pointerleave',leave);addEventListener('scroll',leave,true);addEventListener('beforeprint',leave);
function key(row,i){var c=row.cells[i],v=c.dataset.v||c.textContent,n=parseFloat(v.replace(/[ ,%]/g,''));return v.trim()===''?null:isNaN(n)?v:n}
d.querySelectorAll('table.t').forEach(function(table){[].forEach.call(table.tHead.rows[0].cells,function(th,i){
if(!th.textContent)return;var b=d.createElement('button');b.type='button';b.textContent=th.textContent;th.textContent='';th.appendChild(b);
b.onclick=function(){var body=table.tBodies[0],first=body.rows[0],
up=th.getAttribute('aria-sort')=='descending'||(!th.hasAttribute('aria-sort')&&first&&typeof key(first,i)=='string'),s=up?1:-1;
[].forEach.call(table.tHead.rows[0].cells,function(o){o.removeAttribute('aria-sort')});th.setAttribute('aria-sort',up?'ascending':'descending');
[].slice.call(body.rows).sort(function(p,q){var a=key(p,i),b=key(q,i);if(a===null||b===null)return(a===null)-(b===null);
return s*(typeof a=='number'&&typeof b=='number'?a-b:String(a).localeCompare(String(b)))}).forEach(function(r){body.appendChild(r)})}})})})()
"""
