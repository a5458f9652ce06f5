// Reductions over a workgroup, of any subgroup size; every invocation gets the result. The including kernel has included common.glsl.
#extension GL_KHR_shader_subgroup_arithmetic : require

layout(constant_id = 0) const uint WORKGROUP = 256;

shared float ofSubgroup[WORKGROUP];

float sumOverWorkgroup(float x) {
    float sum = subgroupAdd(x);
    if (gl_NumSubgroups > 1) {
        if (subgroupElect())
            ofSubgroup[gl_SubgroupID] = sum;
        barrier();
        sum = ofSubgroup[0];
        for (uint i = 1; i < gl_NumSubgroups; i++)
            sum += ofSubgroup[i];
        barrier();
    }
    return sum;
}

shared vec2 pairOfSubgroup[WORKGROUP];

vec2 sumOverWorkgroup(vec2 x) {
    vec2 sum = subgroupAdd(x);
    if (gl_NumSubgroups > 1) {
        if (subgroupElect())
            pairOfSubgroup[gl_SubgroupID] = sum;
        barrier();
        sum = pairOfSubgroup[0];
        for (uint i = 1; i < gl_NumSubgroups; i++)
            sum += pairOfSubgroup[i];
        barrier();
    }
    return sum;
}

float maxOverWorkgroup(float x) {
    float largest = subgroupMax(x);
    if (gl_NumSubgroups > 1) {
        if (subgroupElect())
            ofSubgroup[gl_SubgroupID] = largest;
        barrier();
        largest = ofSubgroup[0];
        for (uint i = 1; i < gl_NumSubgroups; i++)
            largest = max(largest, ofSubgroup[i]);
        barrier();
    }
    return largest;
}
